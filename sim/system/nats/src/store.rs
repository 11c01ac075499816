//! The messages of one stream, and which subject has which.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::subject::{has_wildcard, matches};

/// A message of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) sequence: u64,
    pub(crate) subject: String,
    pub(crate) headers: Option<Bytes>,
    pub(crate) payload: Bytes,
    /// Nanoseconds since 1970.
    pub(crate) time: u64,
    /// The file of the stream that it lies in.
    pub(crate) block: u64,
}

/// The messages of a stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Store {
    messages: BTreeMap<u64, Arc<Message>>,
    subjects: BTreeMap<String, BTreeSet<u64>>,
    /// As the server counts them, with what it writes around each message.
    pub(crate) bytes: u64,
    pub(crate) last: u64,
    pub(crate) last_time: u64,
    /// It is lost with the process.
    pub(crate) in_memory: bool,
    /// How often it changed.
    pub(crate) changes: u64,
}

impl Store {
    pub(crate) fn new(in_memory: bool) -> Self {
        Self { in_memory, ..Self::default() }
    }

    /// What a message counts for: in files 22 bytes before, 4 for headers, 8 of checksum; in memory 16.
    fn size(&self, message: &Message) -> u64 {
        let headers = message.headers.as_ref().map_or(0, |headers| headers.len() + if self.in_memory { 0 } else { 4 });
        let around = if self.in_memory { 16 } else { 30 };
        (around + message.subject.len() + headers + message.payload.len()) as u64
    }

    pub(crate) fn insert(&mut self, message: Arc<Message>) {
        self.changes += 1;
        self.bytes += self.size(&message);
        self.subjects.entry(message.subject.clone()).or_default().insert(message.sequence);
        if message.sequence > self.last {
            (self.last, self.last_time) = (message.sequence, message.time);
        }
        self.messages.insert(message.sequence, message);
    }

    pub(crate) fn remove(&mut self, sequence: u64) -> Option<Arc<Message>> {
        let message = self.messages.remove(&sequence)?;
        self.changes += 1;
        self.bytes -= self.size(&message);
        if let Some(sequences) = self.subjects.get_mut(&message.subject) {
            sequences.remove(&sequence);
            if sequences.is_empty() {
                self.subjects.remove(&message.subject);
            }
        }
        Some(message)
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// The sequence of the first message; of the next, where there is none; zero, where there never was one.
    pub(crate) fn first(&self) -> u64 {
        let none = if self.last == 0 { 0 } else { self.last + 1 };
        self.messages.keys().next().copied().unwrap_or(none)
    }

    pub(crate) fn first_time(&self) -> u64 {
        self.messages.values().next().map_or(0, |message| message.time)
    }

    pub(crate) fn get(&self, sequence: u64) -> Option<&Arc<Message>> {
        self.messages.get(&sequence)
    }

    /// In order, from a sequence on.
    pub(crate) fn from(&self, sequence: u64) -> impl Iterator<Item = &Arc<Message>> {
        self.messages.range(sequence..).map(|(_, message)| message)
    }

    /// The last message of a subject or pattern.
    pub(crate) fn last_of(&self, subject: &str) -> Option<&Arc<Message>> {
        if has_wildcard(subject) {
            return self.messages.values().rev().find(|message| matches(subject, &message.subject));
        }
        self.messages.get(self.subjects.get(subject)?.last()?)
    }

    /// Whether the message at a sequence is the last of its subject, and not the only one.
    pub(crate) fn is_last_of_several(&self, sequence: u64) -> bool {
        let of_subject = self.get(sequence).and_then(|message| self.subjects.get(&message.subject));
        of_subject.is_some_and(|sequences| sequences.len() > 1 && sequences.last() == Some(&sequence))
    }

    /// The first message of a subject or pattern at a sequence or after it. An empty pattern is everything.
    pub(crate) fn next_of(&self, subject: &str, sequence: u64) -> Option<&Arc<Message>> {
        if subject.is_empty() || subject == ">" {
            return self.from(sequence).next();
        }
        if has_wildcard(subject) {
            return self.from(sequence).find(|message| matches(subject, &message.subject));
        }
        self.messages.get(self.subjects.get(subject)?.range(sequence..).next()?)
    }

    /// How many messages of a subject or pattern there are at a sequence or after it.
    pub(crate) fn count_of(&self, subject: &str, sequence: u64) -> u64 {
        let literal = !subject.is_empty() && !has_wildcard(subject);
        let count = if literal {
            self.subjects.get(subject).map_or(0, |sequences| sequences.range(sequence..).count())
        } else {
            self.from(sequence).filter(|message| subject.is_empty() || matches(subject, &message.subject)).count()
        };
        count as u64
    }

    /// Subjects that have messages, in order, and how many.
    pub(crate) fn subjects(&self) -> impl Iterator<Item = (&str, u64)> {
        self.subjects.iter().map(|(subject, sequences)| (subject.as_str(), sequences.len() as u64))
    }

    pub(crate) fn messages(&self) -> impl DoubleEndedIterator<Item = &Arc<Message>> {
        self.messages.values()
    }
}
