//! How many commands a connection may send: so many a second, so many at once.
//!
//! The generic cell rate algorithm: one number, the time at which the bucket will be empty again.

use std::time::Duration;

use chamberlain_core::limits::Limits;
use chamberlain_core::time::Instant;

/// A connection's allowance.
#[derive(Debug)]
pub(crate) struct Rate {
    every: Duration,
    ahead: Duration,
    empty_at: Instant,
}

impl Rate {
    pub(crate) fn new(limits: &Limits) -> Self {
        let every = Duration::from_secs(1) / limits.submits_per_second;
        Self { every, ahead: every * limits.submits_burst, empty_at: Instant::default() }
    }

    /// Takes one command, if there is one left.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let empty_at = self.empty_at.max(now).after(self.every);
        let allowed = empty_at.since(now) <= self.ahead;
        if allowed {
            self.empty_at = empty_at;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_so_many_a_second() {
        let limits = Limits { submits_per_second: 50, submits_burst: 100, ..Limits::default() };
        let mut rate = Rate::new(&limits);
        let now = Instant(1_000_000);
        assert_eq!((0..200).filter(|_| rate.take(now)).count(), 100);
        let later = now.after(Duration::from_secs(1));
        assert_eq!((0..200).filter(|_| rate.take(later)).count(), 50);
    }
}
