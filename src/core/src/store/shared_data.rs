//! The interface to the shared data of proxy-wasm.

use super::NotWritten;

/// The host's shared data: values by key, with a number that changes with each write.
pub trait SharedData {
    /// The value of a key, if it was ever written, and the number of its last write.
    fn get(&self, key: &str) -> Option<(Vec<u8>, u32)>;

    /// Writes a value. With `after`, the write succeeds only if the last write has this number, or
    /// if the key was never written.
    ///
    /// # Errors
    /// The last write has another number, or the host refuses.
    fn set(&self, key: &str, value: &[u8], after: Option<u32>) -> Result<(), NotWritten>;
}

/// A number that no write has. With it, only one of two concurrent first writes of a key succeeds.
pub(super) const NEVER_WRITTEN: u32 = u32::MAX;

#[cfg(test)]
pub(crate) mod fixture {
    //! Shared data that a test can inspect.

    use std::cell::RefCell;
    use std::collections::HashMap;

    use super::{NotWritten, SharedData};

    /// Values in memory, with the rules of the host.
    #[derive(Default)]
    pub(crate) struct Memory(pub(crate) RefCell<(Values, u32)>);

    /// Values by key, each with the number of its write.
    type Values = HashMap<String, (Vec<u8>, u32)>;

    impl SharedData for Memory {
        fn get(&self, key: &str) -> Option<(Vec<u8>, u32)> {
            self.0.borrow().0.get(key).cloned()
        }

        fn set(&self, key: &str, value: &[u8], after: Option<u32>) -> Result<(), NotWritten> {
            let (values, writes) = &mut *self.0.borrow_mut();
            let current = values.get(key).map(|(_, written)| *written);
            if after.is_some() && current.is_some() && after != current {
                return Err(NotWritten::Lost);
            }
            *writes += 1;
            values.insert(key.to_owned(), (value.to_vec(), *writes));
            Ok(())
        }
    }
}
