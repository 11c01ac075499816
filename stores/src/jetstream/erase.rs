//! Erasing a body, in steps of which each is durable before the next, and may be done again.
//!
//! 1. The record without the body is published under the subject of what it became, after what is there already.
//! 2. If its message is the last one of the log, one that only says where the log ends is published after it.
//! 3. The message with the body, and older forms of the record, are deleted; the server overwrites them.
//!
//! Before the first step the body is there; before the last it may be read; afterwards it is gone. Whoever stops in between
//! and comes back finds out what is left to do from what is there. Two who erase in one record at once are kept apart by
//! compare-and-append, like writers of a log.

use chamberlain_core::id::{LogId, Revision};
use tokio::time::Instant;

use super::Shared;
use super::api::{Failed, Published, Stored, Wanted};
use super::append::Pauses;
use super::stamp::Stamp;
use crate::{StoreError, rules};

impl Shared {
    /// Erases the body at `revision`.
    pub(super) async fn erase(&self, log: &LogId, revision: Revision) -> Result<(), StoreError> {
        if revision == Revision::ZERO {
            return Err(rules::no_body(log, revision));
        }
        let deadline = self.deadline();
        let mut pauses = Pauses::until(deadline);
        loop {
            let held = self.holding(log, revision, deadline).await?.ok_or_else(|| rules::no_body(log, revision))?;
            let subject = self.names.rewritten(log, held.stamp.first);
            let rewritten = self.get(Wanted::Last(&subject), deadline).await?;
            let form = rewritten.as_ref().unwrap_or(&held);
            let record = form.record().ok_or_else(|| StoreError::Corrupt(format!("{subject} holds no record")))?;
            let Some(erased) = rules::erased(log, &record, revision)? else {
                return self.clear(log, &held, rewritten.as_ref(), deadline).await;
            };
            self.fits(erased.bytes.len())?;
            let expected = rewritten.as_ref().map_or(0, |rewritten| rewritten.sequence);
            let stamp = Stamp::of_record(held.stamp.first, held.stamp.head);
            let published = self.publish(&subject, expected, None, stamp, erased.bytes, deadline).await;
            let why = match published {
                // Whatever came of it is seen in the next round, which finds the record erased and clears the rest away.
                Ok(Published::Stored(_)) => continue,
                Ok(Published::Overtaken | Published::Duplicate) => "others kept rewriting the record".to_owned(),
                Err(Failed::Silence(why)) => why,
                Err(failed) => return Err(Self::refused(failed)),
            };
            if !pauses.wait().await {
                return Err(StoreError::Unknown(why));
            }
        }
    }

    /// Deletes what still holds a body that `rewritten` holds no more. `held` is where the record was found.
    async fn clear(
        &self,
        log: &LogId,
        held: &Stored,
        rewritten: Option<&Stored>,
        deadline: Instant,
    ) -> Result<(), StoreError> {
        // Without a rewritten form the record was appended without the body.
        let Some(rewritten) = rewritten else { return Ok(()) };
        if held.sequence != rewritten.sequence && held.subject == self.names.log(log) {
            self.follow(log, held, deadline).await?;
            self.delete(held.sequence, deadline).await?;
        }
        loop {
            let oldest = self.get(Wanted::From(&rewritten.subject, 1), deadline).await?;
            match oldest {
                Some(oldest) if oldest.sequence < rewritten.sequence => self.delete(oldest.sequence, deadline).await?,
                _ => return Ok(()),
            }
        }
    }

    /// Sees to it that the message is not the last one of its log, so that the log's end outlives it.
    async fn follow(&self, log: &LogId, held: &Stored, deadline: Instant) -> Result<(), StoreError> {
        let mut pauses = Pauses::until(deadline);
        loop {
            let end = self.end(log, deadline).await?;
            if end.sequence > held.sequence {
                return Ok(());
            }
            let stamp = Stamp::of_head(end.head);
            let published =
                self.publish(&self.names.log(log), end.sequence, None, stamp, Default::default(), deadline).await;
            let why = match published {
                Ok(Published::Stored(_)) => continue,
                Ok(Published::Overtaken | Published::Duplicate) => "others kept overtaking it".to_owned(),
                Err(failed) => failed.to_string(),
            };
            if !pauses.wait().await {
                return Err(StoreError::Unknown(why));
            }
        }
    }
}
