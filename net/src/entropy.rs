//! The only place in this crate that asks the operating system for randomness.

use rand::TryRng;
use rand::rngs::SysRng;

/// Fresh random bytes.
pub(crate) fn fresh<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).expect("a system without randomness cannot make keys");
    bytes
}

/// A generator for jitter, seeded freshly.
pub(crate) fn rng() -> rand::rngs::StdRng {
    use rand::SeedableRng;
    rand::rngs::StdRng::from_seed(fresh())
}
