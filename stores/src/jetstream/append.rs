//! Compare-and-append, whose answer is true although the server's may be missing.
//!
//! The server compares the sequence of the subject's last message; we compare the head that it says. What was sent without an
//! answer is sent again only under the same condition, so that it is stored once at most, and whether it was is read back.

use std::time::Duration;

use chamberlain_core::id::LogId;
use chamberlain_core::log::{Head, RecordBytes};
use tokio::time::{Instant, sleep};

use super::Shared;
use super::api::{Failed, Published, Wanted};
use super::index::Place;
use super::stamp::Stamp;
use crate::{Appended, Conflict, StoreError, rules};

/// The wait before something is tried again: doubles up to the most.
pub(super) const PAUSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(200));

impl Shared {
    /// Appends `record` if the log ends at `expected`.
    pub(super) async fn append(
        &self,
        log: &LogId,
        expected: Head,
        record: RecordBytes,
        after: Head,
    ) -> Result<Appended, StoreError> {
        rules::check_append(expected, &record, after)?;
        self.fits(record.bytes.len())?;
        self.check_fit()?;
        let deadline = self.deadline();
        let (subject, stamp) = (self.names.log(log), Stamp::of_record(record.first, after));
        // Two logs may begin with the same record, and the server knows ids in the whole stream.
        let id = format!("{log}:{}", after.digest);
        let mut id = Some(id.as_str());
        let mut pauses = Pauses::until(deadline);
        // Why it may have been stored without our being told.
        let mut unsure: Option<String> = None;
        loop {
            let connection = self.connection();
            let known = self.index().last(log).filter(|place| place.head == expected);
            let place = match known {
                Some(place) => Ok(place),
                None => self.end(log, deadline).await,
            };
            let failed = match place {
                Ok(place) if place.head != expected => {
                    return self.stood_in_the_way(log, place.head, after, unsure.is_some(), deadline).await;
                }
                Ok(place) => {
                    let published =
                        self.publish(&subject, place.sequence, id, stamp, record.bytes.clone(), deadline).await;
                    match published {
                        Ok(Published::Stored(sequence)) => {
                            self.check_followed(log, place, connection, deadline).await?;
                            if connection == self.connection() {
                                let mut index = self.index();
                                index.ends(log, Place { sequence, head: after });
                                index.lies(log, record.first, sequence);
                            }
                            return Ok(Appended::Done(after));
                        }
                        // Its id is taken: by itself, which is then there, or by something else, and it goes without one.
                        Ok(Published::Duplicate) => id = None,
                        Ok(Published::Overtaken) => {}
                        Err(Failed::Silence(why)) => unsure = Some(why),
                        Err(failed) if unsure.is_some() => unsure = Some(failed.to_string()),
                        Err(failed) => return Err(Self::refused(failed)),
                    }
                    self.index().forget_end(log);
                    "others kept overtaking it".to_owned()
                }
                Err(StoreError::Unavailable(why)) if unsure.is_some() => why,
                Err(why) => return Err(why),
            };
            if !pauses.wait().await {
                return Err(unsure.map_or(StoreError::Unavailable(failed), StoreError::Unknown));
            }
        }
    }

    /// Where the log ends, asked of the servers.
    pub(super) async fn end(&self, log: &LogId, deadline: Instant) -> Result<Place, StoreError> {
        let connection = self.connection();
        let last = self.get(Wanted::Last(&self.names.log(log)), deadline).await?;
        let place = last.map_or(Place { sequence: 0, head: Head::EMPTY }, |last| Place {
            sequence: last.sequence,
            head: last.stamp.head,
        });
        if connection == self.connection() && place.sequence > 0 {
            self.index().ends(log, place);
        }
        Ok(place)
    }

    /// The head, asked of the servers.
    pub(super) async fn head(&self, log: &LogId) -> Result<Head, StoreError> {
        Ok(self.end(log, self.deadline()).await?.head)
    }

    /// The log ends at `head` and not where it was expected to. If ours may have been stored, it may be why.
    async fn stood_in_the_way(
        &self,
        log: &LogId,
        head: Head,
        after: Head,
        unsure: bool,
        deadline: Instant,
    ) -> Result<Appended, StoreError> {
        let ours = if !unsure || head.revision < after.revision {
            false
        } else if head.revision == after.revision {
            head == after
        } else {
            let stored = self.holding(log, after.revision, deadline).await;
            let stored = stored.map_err(|why| StoreError::Unknown(why.to_string()))?;
            stored.is_some_and(|stored| stored.stamp.head == after)
        };
        Ok(if ours { Appended::Done(after) } else { Appended::Conflict(Conflict { head }) })
    }

    /// If the connection changed while a record was published: it does follow the message that it was to follow, and not
    /// another one that a server which forgot something has at the same place.
    async fn check_followed(
        &self,
        log: &LogId,
        place: Place,
        connection: u64,
        deadline: Instant,
    ) -> Result<(), StoreError> {
        if connection == self.connection() || place.sequence == 0 {
            return Ok(());
        }
        let before = self.get(Wanted::At(place.sequence), deadline).await;
        match before.map_err(|why| StoreError::Unknown(why.to_string()))? {
            Some(before) if before.stamp.head != place.head => Err(StoreError::Corrupt(format!(
                "{log} has another record at revision {} than it had: the servers forgot something",
                place.head.revision
            ))),
            // Gone: it was rewritten meanwhile, which changes no head.
            Some(_) | None => Ok(()),
        }
    }

    /// The server that we are connected to is one that would not be refused at start.
    fn check_fit(&self) -> Result<(), StoreError> {
        if self.unfit.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(StoreError::Unavailable("the server that was reconnected to would be refused at start".into()));
        }
        Ok(())
    }
}

/// Waits between attempts.
pub(super) struct Pauses {
    next: Duration,
    deadline: Instant,
}

impl Pauses {
    pub(super) fn until(deadline: Instant) -> Self {
        Self { next: PAUSE.0, deadline }
    }

    /// Waits; says whether there is time for another attempt.
    pub(super) async fn wait(&mut self) -> bool {
        if Instant::now() + self.next >= self.deadline {
            return false;
        }
        sleep(self.next).await;
        self.next = (self.next * 2).min(PAUSE.1);
        true
    }
}
