//! The only place in this crate that reads a clock. Time is handed to the machines from here.

use std::time::{SystemTime, UNIX_EPOCH};

use chamberlain_core::time::{Instant, Timestamp};

/// A node's clocks: monotone since the node began, and wall time. Cheap to copy.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: tokio::time::Instant,
}

impl Clock {
    /// Begins now.
    pub fn start() -> Self {
        Self { origin: tokio::time::Instant::now() }
    }

    /// Time since it began.
    pub fn now(&self) -> Instant {
        let micros = tokio::time::Instant::now().duration_since(self.origin).as_micros();
        Instant(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// The runtime's instant of one of ours, to sleep until.
    pub fn to_tokio(&self, at: Instant) -> tokio::time::Instant {
        self.origin + std::time::Duration::from_micros(at.0)
    }

    /// Wall time.
    pub fn wall(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}
