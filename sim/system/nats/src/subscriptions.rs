//! Who subscribed to what in one account.

use std::collections::{BTreeMap, BTreeSet};

use crate::random::Random;
use crate::subject::{has_wildcard, matches};

/// A subscription: a client, and what it calls the subscription.
pub(crate) type Subscriber = (u64, String);

/// The subscriptions of an account. Each has a number, by which they are gone through in the order in which they were made.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    all: BTreeMap<u64, Subscription>,
    literal: BTreeMap<String, BTreeSet<u64>>,
    patterns: BTreeSet<u64>,
    next: u64,
}

#[derive(Debug)]
struct Subscription {
    subject: String,
    queue: Option<String>,
    subscriber: Subscriber,
}

impl Subscriptions {
    /// Adds one, under the number that it returns.
    pub(crate) fn add(&mut self, subject: String, queue: Option<String>, subscriber: Subscriber) -> u64 {
        self.next += 1;
        if has_wildcard(&subject) {
            self.patterns.insert(self.next);
        } else {
            self.literal.entry(subject.clone()).or_default().insert(self.next);
        }
        self.all.insert(self.next, Subscription { subject, queue, subscriber });
        self.next
    }

    pub(crate) fn remove(&mut self, number: u64) {
        let Some(subscription) = self.all.remove(&number) else { return };
        self.patterns.remove(&number);
        if let Some(numbers) = self.literal.get_mut(&subscription.subject) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.literal.remove(&subscription.subject);
            }
        }
    }

    fn covering<'a>(&'a self, subject: &'a str) -> impl Iterator<Item = &'a Subscription> {
        let literal = self.literal.get(subject).into_iter().flatten();
        let patterns = self.patterns.iter().filter(|number| matches(&self.all[number].subject, subject));
        literal.chain(patterns).map(|number| &self.all[number])
    }

    /// Whom a message is delivered to: everybody who subscribed, and one of each queue group.
    pub(crate) fn receivers(&self, subject: &str, random: &mut Random) -> Vec<Subscriber> {
        let mut receivers = Vec::new();
        let mut groups: BTreeMap<&str, Vec<&Subscriber>> = BTreeMap::new();
        for Subscription { queue, subscriber, .. } in self.covering(subject) {
            match queue {
                None => receivers.push(subscriber.clone()),
                Some(queue) => groups.entry(queue).or_default().push(subscriber),
            }
        }
        for members in groups.values() {
            let chosen = random.below(members.len() as u64) as usize;
            receivers.push(members[chosen].clone());
        }
        receivers
    }

    /// Whether anybody would get it.
    pub(crate) fn is_heard(&self, subject: &str) -> bool {
        self.covering(subject).next().is_some()
    }

    /// A subscription of a client that covers a subject.
    pub(crate) fn of_client(&self, client: u64, subject: &str) -> Option<String> {
        self.covering(subject).find(|found| found.subscriber.0 == client).map(|found| found.subscriber.1.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_has_one_receiver() {
        let mut subscriptions = Subscriptions::default();
        let mut random = Random::new(1);
        let group = Some("workers".to_owned());
        for client in 0..4 {
            subscriptions.add("a.*".into(), group.clone(), (client, "1".into()));
        }
        let alone = subscriptions.add("a.b".into(), None, (9, "1".into()));
        let mut chosen = BTreeSet::new();
        for _ in 0..100 {
            let receivers = subscriptions.receivers("a.b", &mut random);
            assert_eq!((receivers.len(), receivers[0].0), (2, 9));
            chosen.insert(receivers[1].0);
        }
        assert_eq!(chosen.len(), 4);
        subscriptions.remove(alone);
        assert_eq!(subscriptions.of_client(9, "a.b"), None);
        assert!(subscriptions.is_heard("a.x") && !subscriptions.is_heard("b"));
    }
}
