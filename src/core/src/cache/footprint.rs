//! The memory use of cached values, so that their total can be bounded.

use std::sync::Arc;

use serde_json::Value;

/// The overhead of an allocation in bytes, including rounding.
const ALLOCATION: usize = 16;

/// A value that owns memory.
pub(crate) trait Footprint {
    /// The approximate number of bytes that it owns on the heap, without its own size.
    fn owned_bytes(&self) -> usize;
}

impl Footprint for str {
    fn owned_bytes(&self) -> usize {
        self.len().saturating_add(ALLOCATION)
    }
}

impl Footprint for Box<str> {
    fn owned_bytes(&self) -> usize {
        (**self).owned_bytes()
    }
}

impl Footprint for Arc<str> {
    fn owned_bytes(&self) -> usize {
        (**self).owned_bytes()
    }
}

impl<T: Footprint> Footprint for Option<T> {
    fn owned_bytes(&self) -> usize {
        self.as_ref().map_or(0, T::owned_bytes)
    }
}

impl<T: Footprint> Footprint for Vec<T> {
    fn owned_bytes(&self) -> usize {
        list(self, self.capacity())
    }
}

impl<T: Footprint> Footprint for Arc<[T]> {
    fn owned_bytes(&self) -> usize {
        list(self, self.len())
    }
}

/// The bytes of a list with capacity for `room` elements.
fn list<T: Footprint>(list: &[T], room: usize) -> usize {
    let own = room.saturating_mul(size_of::<T>()).saturating_add(ALLOCATION);
    list.iter().map(T::owned_bytes).fold(own, usize::saturating_add)
}

/// A header or an attribute. Its name belongs to the configuration, so it is not counted.
impl<N> Footprint for (N, Arc<str>) {
    fn owned_bytes(&self) -> usize {
        self.1.owned_bytes()
    }
}

impl Footprint for Value {
    fn owned_bytes(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) => 0,
            Self::String(text) => text.owned_bytes(),
            Self::Array(elements) => elements.owned_bytes(),
            // Up to half of the entries in the nodes of a B-tree may be unused.
            Self::Object(members) => members
                .iter()
                .map(|(name, value)| name.owned_bytes().saturating_add(value.owned_bytes()))
                .map(|owned| owned.saturating_add(size_of::<(String, Self)>().saturating_mul(2)))
                .fold(ALLOCATION, usize::saturating_add),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_allocation_counts_however_small_its_content() {
        let words: Vec<Box<str>> = (0..1000).map(|_| "a".into()).collect();
        assert!(words.owned_bytes() >= 1000 * (size_of::<Box<str>>() + 1 + ALLOCATION));
        let empty = json!(vec![json!([]); 1000]);
        assert!(empty.owned_bytes() >= 1000 * (size_of::<Value>() + ALLOCATION));
        let object: Value = (0..1000).map(|n| (n.to_string(), json!(0))).collect();
        assert!(object.owned_bytes() >= 1000 * (size_of::<Value>() + size_of::<String>()));
    }

    #[test]
    fn long_texts_count_wherever_they_stand() {
        let long = "x".repeat(10_000);
        for value in [json!(long), json!([long]), json!({"a": long}), json!({&long: [0]})] {
            let owned = value.owned_bytes();
            assert!((10_000..11_000).contains(&owned), "{owned}");
        }
        assert_eq!(json!([1, 2]).owned_bytes(), ALLOCATION + 2 * size_of::<Value>());
    }

    #[test]
    fn a_text_counts_whoever_shares_it_and_nothing_counts_where_there_is_none() {
        let (text, owned) = (Arc::<str>::from("0123456789"), 10 + ALLOCATION);
        assert_eq!(text.owned_bytes(), owned);
        assert_eq!(Some(Arc::clone(&text)).owned_bytes(), owned);
        assert_eq!(None::<Arc<str>>.owned_bytes(), 0);
        // The name belongs to the configuration.
        assert_eq!(("a name", text).owned_bytes(), owned);
    }
}
