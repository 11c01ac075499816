//! Sleeping, in simulated time. One timer for each sleep and not, as madsim has it, one for each time it is polled; and to
//! the nanosecond.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use madsim::time::TimeHandle;
pub use madsim::time::{Interval, MissedTickBehavior, error, interval, interval_at};
pub use std::time::{Duration, Instant};

/// Until a time.
#[must_use = "does nothing unless it is awaited"]
pub struct Sleep {
    deadline: Instant,
    armed: Option<(Instant, Arc<Alarm>)>,
}

/// A timer that was set. It cannot be taken back, but it can wake nobody.
#[derive(Default)]
struct Alarm {
    waker: Mutex<Option<Waker>>,
    rang: AtomicBool,
}

impl Alarm {
    fn set(&self, waker: Option<&Waker>) {
        let mut set = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*set, waker) {
            (Some(old), Some(new)) if old.will_wake(new) => {}
            _ => *set = waker.cloned(),
        }
    }

    fn ring(&self) {
        self.rang.store(true, Ordering::Relaxed);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// For a span.
pub fn sleep(span: Duration) -> Sleep {
    // A span that is longer than time itself is as good as for ever.
    let now = Instant::now();
    sleep_until(now.checked_add(span).unwrap_or(now + Duration::from_secs(86_400 * 365)))
}

/// Until a time.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline, armed: None }
}

impl Sleep {
    /// When it is over.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether it is over.
    pub fn is_elapsed(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Has it be over at another time.
    pub fn reset(mut self: Pin<&mut Self>, deadline: Instant) {
        self.deadline = deadline;
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_elapsed() {
            return Poll::Ready(());
        }
        match &self.armed {
            // Set for no later: it wakes us, and we look again.
            Some((at, alarm)) if *at <= self.deadline && !alarm.rang.load(Ordering::Relaxed) => {
                alarm.set(Some(cx.waker()));
            }
            _ => {
                let alarm = Arc::new(Alarm::default());
                alarm.set(Some(cx.waker()));
                let rings = alarm.clone();
                TimeHandle::current().add_timer_at(self.deadline, move || rings.ring());
                let armed = (self.deadline, alarm);
                if let Some((_, old)) = self.armed.replace(armed) {
                    old.set(None);
                }
            }
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some((_, alarm)) = &self.armed {
            alarm.set(None);
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline", &self.deadline).finish()
    }
}

/// A future that has so much time.
#[must_use = "does nothing unless it is awaited"]
pub struct Timeout<F> {
    future: Pin<Box<F>>,
    sleep: Sleep,
}

/// Gives a future so much time.
pub fn timeout<F: Future>(span: Duration, future: F) -> Timeout<F> {
    Timeout { future: Box::pin(future), sleep: sleep(span) }
}

/// Gives a future time until then.
pub fn timeout_at<F: Future>(deadline: Instant, future: F) -> Timeout<F> {
    Timeout { future: Box::pin(future), sleep: sleep_until(deadline) }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, error::Elapsed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(value) = self.future.as_mut().poll(cx) {
            return Poll::Ready(Ok(value));
        }
        Pin::new(&mut self.sleep).poll(cx).map(|()| Err(error::Elapsed))
    }
}
