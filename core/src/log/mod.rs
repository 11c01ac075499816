//! What is durable: records, the digest chain over them, the last of them in memory, and positions to resume from.

mod digest;
mod position;
mod record;
mod suffix;
mod tail;
#[cfg(test)]
mod tests;

pub use digest::{Digest, Head};
pub use position::Position;
pub use record::{Body, Entry, Item, Logged, MalformedRecord, Record, RecordBytes, erase_body};
pub use suffix::{Stored, Suffix};
pub use tail::{Offer, Tail};
