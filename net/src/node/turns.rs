//! Things that want to be looked at, each by one task at a time. A thing stands here once, however often it is pushed; one that
//! is pushed while it is being looked at is looked at again.

use std::collections::BTreeSet;

use tokio::sync::Notify;

use crate::lock::Lock;

pub(super) struct Turns<K> {
    lists: Lock<Lists<K>>,
    /// How many are looked at at the same time, at most.
    at_once: usize,
    pushed: Notify,
}

struct Lists<K> {
    waiting: BTreeSet<K>,
    busy: BTreeSet<K>,
}

impl<K: Ord + Clone> Turns<K> {
    pub(super) fn new(at_once: usize) -> Self {
        let lists = Lists { waiting: BTreeSet::new(), busy: BTreeSet::new() };
        Self { lists: Lock::new(lists), at_once, pushed: Notify::new() }
    }

    pub(super) fn push(&self, thing: K) {
        self.lists.lock().waiting.insert(thing);
        self.pushed.notify_one();
    }

    /// Whether nothing waits and nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        let lists = self.lists.lock();
        lists.waiting.is_empty() && lists.busy.is_empty()
    }

    /// The next whose turn it is; whoever takes it says when it is done.
    pub(super) async fn next(&self) -> K {
        loop {
            if let Some(thing) = self.take() {
                return thing;
            }
            self.pushed.notified().await;
        }
    }

    fn take(&self) -> Option<K> {
        let mut lists = self.lists.lock();
        if lists.busy.len() >= self.at_once {
            return None;
        }
        let next = lists.waiting.iter().find(|thing| !lists.busy.contains(*thing)).cloned()?;
        lists.waiting.remove(&next);
        lists.busy.insert(next.clone());
        Some(next)
    }

    pub(super) fn done(&self, thing: &K) {
        self.lists.lock().busy.remove(thing);
        self.pushed.notify_one();
    }
}
