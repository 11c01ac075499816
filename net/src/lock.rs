//! A mutex that is held for a moment and never across an await. A thread that panicked while holding it left a state that
//! may be half changed, so the next one panics, too, rather than go on with it.

use std::sync::{Mutex, MutexGuard};

#[derive(Debug, Default)]
pub(crate) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("nobody panics while holding a lock; if one did, the state cannot be trusted")
    }
}
