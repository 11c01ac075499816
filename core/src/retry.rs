//! Failures by class, and how long to wait before trying again. RULES.md, "Failure classes".

use core::time::Duration;

use rand::{Rng, RngExt};

/// What an attempt came to when it did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failure {
    /// Nothing happened; the same may go through later.
    Transient,
    /// It may have happened: read back before trying again.
    Unknown,
    /// Trying again does not help; an operator must see it.
    Permanent,
    /// A newer version wrote it: trying again does not help here, and nothing is wrong with it.
    Newer,
}

/// Waits that double up to a most, each drawn from its upper half, so that many who failed together do not return together.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    attempt: u32,
}

impl Backoff {
    /// Begins with `first`, never waits longer than `most`.
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most: most.max(first), attempt: 0 }
    }

    /// The wait before the next attempt.
    pub fn wait(&mut self, rng: &mut impl Rng) -> Duration {
        let full = self.first.saturating_mul(1_u32.checked_shl(self.attempt).unwrap_or(u32::MAX)).min(self.most);
        self.attempt = (self.attempt + 1).min(31);
        let micros = u64::try_from(full.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(rng.random_range(micros / 2..=micros))
    }

    /// An attempt succeeded: the next failure begins anew.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}
