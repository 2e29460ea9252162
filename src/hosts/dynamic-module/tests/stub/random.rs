//! What happens next, by chance: the same for the same seed in each thread.

use std::cell::Cell;

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(1) };
}

/// Begins anew in this thread.
pub fn seed(seed: u64) {
    STATE.set(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
}

/// A number below this one.
pub fn random(below: usize) -> usize {
    // xorshift64*
    let mut state = STATE.get();
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    STATE.set(state);
    let below = u64::try_from(below).expect("a number");
    let number = u128::from(state.wrapping_mul(0x2545_f491_4f6c_dd1d));
    usize::try_from((number * u128::from(below)) >> 64).expect("below")
}

/// Whether the one of so many comes.
pub fn one_in(many: usize) -> bool {
    random(many) == 0
}
