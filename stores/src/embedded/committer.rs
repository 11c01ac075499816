//! Group commit: one task that makes the changes of many callers durable together.
//!
//! While one group is being synced, the next gathers in the queue, which is bounded in number and in bytes. A caller is
//! answered once its group is durable, or told `Unknown` when the commit failed. A caller that goes away while it waits for
//! room in the queue changes nothing; one that goes away later has only missed the answer.

use std::sync::Arc;

use redb::StorageError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::Options;
use super::engine::{Engine, stopped};
use super::tables::Tables;
use crate::StoreError;

/// A change of the tables, and the answer to whoever asked for it.
pub(super) trait Operation: Send + 'static {
    /// What the caller is told.
    type Answer: Send + 'static;

    /// About how many bytes it holds in memory.
    fn weight(&self) -> usize;

    /// Makes the change, within a transaction that others share. When the answer is an error, nothing was changed.
    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<Verdict<Self::Answer>, StorageError>;

    /// It is durable now.
    fn committed(self, _answer: &Self::Answer)
    where
        Self: Sized,
    {
    }
}

/// What came of an operation within its transaction.
pub(super) enum Verdict<A> {
    /// Something was changed.
    Changed(A),
    /// Nothing was changed, and this is the answer nevertheless.
    Same(A),
    /// Nothing was changed, for this reason.
    Refused(StoreError),
}

/// The way to the committer. Clones share it; the committer ends when all are gone and the queue is empty.
pub(super) struct Queue {
    jobs: mpsc::Sender<Job>,
    bytes: Arc<Semaphore>,
    most_bytes: u32,
}

enum Job {
    Change(Box<dyn Waiting>),
    /// Something that runs between commits.
    Alone(Box<dyn FnOnce() + Send>),
}

impl Queue {
    /// Starts the committer.
    pub(super) fn start(engine: Arc<Engine>, options: &Options) -> Self {
        let (jobs, queue) = mpsc::channel(options.queue_changes);
        tokio::spawn(run(engine, queue, options.group_changes));
        Self { jobs, bytes: Arc::new(Semaphore::new(options.queue_bytes as usize)), most_bytes: options.queue_bytes }
    }

    /// Has an operation committed, with others.
    pub(super) async fn commit<O: Operation>(&self, operation: O) -> Result<O::Answer, StoreError> {
        // What is heavier than the whole queue waits until it is alone.
        let weight = u32::try_from(operation.weight()).unwrap_or(u32::MAX).min(self.most_bytes);
        let room = self.bytes.clone().acquire_many_owned(weight).await.map_err(|_| stopped())?;
        let (answer, answered) = oneshot::channel();
        let waiting = Caller { operation, verdict: None, answer, _room: room };
        self.jobs.send(Job::Change(Box::new(waiting))).await.map_err(|_| stopped())?;
        // No answer: the committer broke off, before or after the commit.
        answered.await.unwrap_or_else(|_| Err(StoreError::Unknown("the store broke off".into())))
    }

    /// Runs something after what is queued now and before what comes later; `None` when the committer is gone.
    pub(super) async fn alone<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let act = Box::new(move || {
            // The caller may have gone away.
            let _ = answer.send(act());
        });
        self.jobs.send(Job::Alone(act)).await.ok()?;
        answered.await.ok()
    }
}

async fn run(engine: Arc<Engine>, mut queue: mpsc::Receiver<Job>, most: usize) {
    let mut jobs = Vec::with_capacity(most);
    while queue.recv_many(&mut jobs, most).await > 0 {
        let committing = {
            let (engine, jobs) = (engine.clone(), std::mem::take(&mut jobs));
            tokio::task::spawn_blocking(move || work(&engine, jobs))
        };
        match committing.await {
            Ok(emptied) => jobs = emptied,
            Err(why) => {
                tracing::error!(%why, "a commit broke off");
                let engine = engine.clone();
                // Its own panic would be reported like the one that brought us here.
                let _ = tokio::task::spawn_blocking(move || engine.broke_off()).await;
            }
        }
    }
}

/// Does the jobs in their order, neighbouring changes in one transaction. Gives the emptied list back.
fn work(engine: &Engine, mut jobs: Vec<Job>) -> Vec<Job> {
    let mut group = Vec::with_capacity(jobs.len());
    for job in jobs.drain(..) {
        match job {
            Job::Change(waiting) => group.push(waiting),
            Job::Alone(act) => {
                commit(engine, std::mem::take(&mut group));
                act();
            }
        }
    }
    commit(engine, group);
    jobs
}

fn commit(engine: &Engine, mut group: Vec<Box<dyn Waiting>>) {
    if group.is_empty() {
        return;
    }
    let outcome = engine.write(|tables| {
        let mut changed = false;
        for waiting in &mut group {
            changed |= waiting.apply(tables)?;
        }
        Ok(changed)
    });
    for waiting in group {
        waiting.settle(outcome.clone());
    }
}

/// Somebody who waits for a change, whatever kind of change it is.
trait Waiting: Send {
    /// Makes the change; says whether anything changed.
    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<bool, StorageError>;

    /// Answers.
    fn settle(self: Box<Self>, outcome: Result<(), StoreError>);
}

struct Caller<O: Operation> {
    operation: O,
    verdict: Option<Verdict<O::Answer>>,
    answer: oneshot::Sender<Result<O::Answer, StoreError>>,
    /// Its part of the queue's bytes.
    _room: OwnedSemaphorePermit,
}

impl<O: Operation> Waiting for Caller<O> {
    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<bool, StorageError> {
        let verdict = self.operation.apply(tables)?;
        let changed = matches!(verdict, Verdict::Changed(_));
        self.verdict = Some(verdict);
        Ok(changed)
    }

    fn settle(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Self { operation, verdict, answer: caller, _room } = *self;
        let answer = outcome.and_then(|()| match verdict {
            Some(Verdict::Changed(answer)) => {
                operation.committed(&answer);
                Ok(answer)
            }
            Some(Verdict::Same(answer)) => Ok(answer),
            Some(Verdict::Refused(why)) => Err(why),
            None => Err(StoreError::Unknown("the store broke off".into())),
        });
        // The caller may have gone away.
        let _ = caller.send(answer);
    }
}
