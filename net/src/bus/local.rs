//! A bus within one process: several nodes over the same stores, for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chamberlain_core::fleet::Life;
use tokio::sync::mpsc;

use super::{Bus, BusError, Connected, Handing, Heard, LETTERS_WAITING};
use crate::lock::Lock;

/// Letters of this many bytes are taken, as a NATS server does without configuration.
const LETTER_BYTES: usize = 1024 * 1024;

/// Connects nodes of one process. Cheap to clone.
#[derive(Clone, Default)]
pub struct LocalBus(Arc<Lock<BTreeMap<Life, mpsc::Sender<Heard>>>>);

struct End {
    bus: LocalBus,
    life: Life,
}

impl LocalBus {
    /// A bus without nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Connects a life of a node.
    pub fn connect(&self, life: Life) -> Connected {
        let (sender, heard) = mpsc::channel(LETTERS_WAITING);
        self.0.lock().insert(life, sender);
        Connected { bus: Arc::new(End { bus: self.clone(), life }), life, serves: true, heard }
    }

    /// Tells a node that letters and hints may have been lost.
    pub fn gap(&self, life: Life) {
        if let Some(node) = self.0.lock().get(&life) {
            let _full = node.try_send(Heard::Gap);
        }
    }

    /// Cuts a node off: nobody hears it, and it hears nobody.
    pub fn cut(&self, life: Life) {
        self.0.lock().remove(&life);
    }
}

impl End {
    fn hand(&self, letter: Bytes, act: impl FnOnce(&BTreeMap<Life, mpsc::Sender<Heard>>)) -> Handing<'_> {
        let result = if letter.len() > LETTER_BYTES {
            Err(BusError::TooLarge { bytes: letter.len(), most: LETTER_BYTES })
        } else {
            let nodes = self.bus.0.lock();
            if nodes.contains_key(&self.life) {
                act(&nodes);
                Ok(())
            } else {
                Err(BusError::Unreachable("cut off".into()))
            }
        };
        Box::pin(std::future::ready(result))
    }
}

impl Bus for End {
    fn send(&self, to: Life, letter: Bytes, mark: u64) -> Handing<'_> {
        self.hand(letter.clone(), |nodes| {
            let taken = nodes.get(&to).is_some_and(|node| node.try_send(Heard::Letter(letter)).is_ok());
            if let (false, Some(me)) = (taken, nodes.get(&self.life)) {
                // When even this is lost, the writer's patience ends.
                let _lost = me.try_send(Heard::Nobody(mark));
            }
        })
    }

    fn broadcast(&self, letter: Bytes) -> Handing<'_> {
        self.hand(letter.clone(), |nodes| {
            for (_, node) in nodes.iter().filter(|(life, _)| **life != self.life) {
                let _lost = node.try_send(Heard::Letter(letter.clone()));
            }
        })
    }

    fn flush(&self) -> Handing<'_> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn letter_bytes(&self) -> usize {
        LETTER_BYTES
    }
}
