//! The bus between the nodes of a site: letters to one node, or to all. At most once, in order for each recipient, and no more
//! than a hint: what is lost is found in the logs, and a command that is not answered is carried out where it came in.

mod local;
#[cfg(feature = "nats")]
pub mod nats;

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use chamberlain_core::fleet::Life;
use tokio::sync::mpsc;

pub use local::LocalBus;

/// A hand-over under way.
pub type Handing<'a> = Pin<Box<dyn Future<Output = Result<(), BusError>> + Send + 'a>>;

/// Why a letter was not handed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// It is longer than the bus takes.
    #[error("a letter of {bytes} bytes, and the bus takes {most}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The most.
        most: usize,
    },
    /// The bus cannot be reached.
    #[error("the bus cannot be reached: {0}")]
    Unreachable(String),
}

/// What comes from the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A letter.
    Letter(Bytes),
    /// Nobody took the letter that was marked with this number.
    Nobody(u64),
    /// Letters may have been lost: the connection was, or more came than were taken.
    Gap,
}

/// A bus, as one life of a node is connected to it.
pub trait Bus: Send + Sync {
    /// Hands over a letter to one life of a node. `mark` comes back in [`Heard::Nobody`] when the bus finds out that nobody is
    /// there who could take it.
    fn send(&self, to: Life, letter: Bytes, mark: u64) -> Handing<'_>;

    /// Hands over a letter to all other nodes.
    fn broadcast(&self, letter: Bytes) -> Handing<'_>;

    /// Returns when what was handed over has left.
    fn flush(&self) -> Handing<'_>;

    /// Bytes of the longest letter it takes.
    fn letter_bytes(&self) -> usize;
}

/// A bus and what comes from it, for a node to begin with.
pub struct Connected {
    /// The bus.
    pub bus: std::sync::Arc<dyn Bus>,
    /// The life that it was connected for.
    pub life: Life,
    /// Whether the node takes rooms over. One that does not still carries out what it is asked, at their owners.
    pub serves: bool,
    /// What comes from it.
    pub heard: mpsc::Receiver<Heard>,
}

/// Letters that came and were not looked at yet, at most; when there are more, those that come are lost, and that is told.
pub const LETTERS_WAITING: usize = 8_192;
