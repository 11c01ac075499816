//! Every limit there is, in one place. All are configurable under `[limits]`, and documented where they are declared.

use core::time::Duration;

use serde::{Deserialize, Serialize};

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:expr, $min:expr => $max:expr;)+) => {
        /// The limits of a server. A value outside its range is refused at start.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Limits { $($(#[doc = $doc])+ pub $name: $type,)+ }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl Limits {
            /// Checks every limit against its range.
            pub fn check(&self) -> Result<(), OutOfRange> {
                $(if !($min..=$max).contains(&self.$name) {
                    return Err(OutOfRange { name: stringify!($name), value: self.$name as u64, min: $min, max: $max });
                })+
                self.check_together()
            }

            /// Name, meaning, default, smallest and largest value of each limit.
            pub const TABLE: &'static [(&'static str, &'static str, u64, u64, u64)] =
                &[$((stringify!($name), concat!($($doc),+), $default as u64, $min as u64, $max as u64),)+];
        }
    };
}

/// A limit that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("limits.{name} = {value}: must be {min} to {max}")]
pub struct OutOfRange {
    /// Which.
    pub name: &'static str,
    /// What it was set to.
    pub value: u64,
    /// The smallest it may be.
    pub min: u64,
    /// The largest it may be.
    pub max: u64,
}

limits! {
    /// Members of a channel.
    room_members: u32 = 10_000, 2 => 100_000;
    /// Members from which on only owners, bots and administrators write.
    large_room: u32 = 500, 2 => 100_000;
    /// Accounts that one command may name.
    accounts_per_command: u32 = 1_000, 1 => 1_000;
    /// Bytes of one message, as sealed.
    message_bytes: u32 = 20 * 1024, 1 => 256 * 1024;
    /// Edits of one message.
    edits_per_message: u32 = 100, 1 => 10_000;
    /// Messages under one key version; the next version follows by itself.
    messages_per_key: u64 = 100_000, 1 => 1_000_000_000;
    /// Changing requests per room whose answers are remembered.
    remembered_requests: u32 = 16_384, 16 => 1_000_000;
    /// Bytes of one record.
    record_bytes: u32 = 512 * 1024, 64 * 1024 => 4 * 1024 * 1024;
    /// Commands in one record.
    record_commands: u32 = 1_024, 1 => 10_000;
    /// Commands waiting in one room.
    room_queue: u32 = 4_096, 1 => 1_000_000;
    /// Milliseconds from a command's first attempt until it is answered `unavailable`.
    command_deadline_ms: u32 = 10_000, 100 => 600_000;
    /// Milliseconds before the first retry of a transient failure; doubles, with jitter.
    retry_first_ms: u32 = 20, 1 => 60_000;
    /// Milliseconds between retries at most.
    retry_most_ms: u32 = 2_000, 1 => 600_000;
    /// Revisions between snapshots of a log.
    snapshot_every: u32 = 4_096, 16 => 1_000_000;
    /// Records of a room kept in memory.
    tail_records: u32 = 1_024, 1 => 1_000_000;
    /// Bytes of a room's records kept in memory.
    tail_bytes: u32 = 4 * 1024 * 1024, 64 * 1024 => 1024 * 1024 * 1024;
    /// Rooms kept in memory although nobody has them open.
    idle_rooms: u32 = 1_000, 0 => 1_000_000;
    /// Bytes of a frame from a client.
    frame_in_bytes: u32 = 64 * 1024, 1024 => 1024 * 1024;
    /// Bytes of a frame to a client.
    frame_out_bytes: u32 = 1024 * 1024, 64 * 1024 => 16 * 1024 * 1024;
    /// Revisions in a frame to a client.
    batch_items: u32 = 256, 1 => 10_000;
    /// Rooms open on one connection.
    open_rooms: u32 = 1_000, 1 => 100_000;
    /// Connections of one account.
    sockets_per_account: u32 = 16, 1 => 100_000;
    /// Connections altogether.
    sockets: u32 = 100_000, 1 => 10_000_000;
    /// Commands per second of one connection.
    submits_per_second: u32 = 50, 1 => 1_000_000;
    /// Commands at once of one connection.
    submits_burst: u32 = 100, 1 => 1_000_000;
    /// Answers that wait for one connection; a client that sends more requests than it reads answers is slow.
    replies_waiting: u32 = 1_024, 16 => 100_000;
    /// Milliseconds until a new connection must have said hello.
    hello_ms: u32 = 5_000, 100 => 600_000;
    /// Milliseconds of silence after which the server pings.
    ping_ms: u32 = 25_000, 100 => 600_000;
    /// Milliseconds of silence after which a connection is dead.
    dead_ms: u32 = 60_000, 200 => 1_200_000;
    /// Milliseconds without taking a byte after which a connection is slow, and closed.
    slow_ms: u32 = 30_000, 100 => 1_200_000;
    /// Milliseconds over which connections are asked to leave when the server stops.
    drain_ms: u32 = 5_000, 0 => 600_000;
    /// Milliseconds between the announcements of a node to the others of its site.
    announce_ms: u32 = 1_000, 50 => 60_000;
    /// Milliseconds of silence after which another node is taken for gone.
    silent_ms: u32 = 3_500, 100 => 600_000;
    /// Milliseconds for which a node waits for another one to answer a command, before it carries it out itself.
    forward_ms: u32 = 5_000, 50 => 60_000;
    /// Commands that wait for answers of other nodes; those beyond are carried out where they came in.
    forwards_waiting: u32 = 16_384, 1 => 1_000_000;
    /// Items of one page of history.
    history_items: u32 = 100, 1 => 1_000;
    /// Items of one page of members.
    member_items: u32 = 200, 1 => 10_000;
    /// Encapsulations per room and version whose keys are kept derived.
    sealers_per_key: u32 = 1_024, 1 => 1_000_000;
}

/// What a record takes beside a message's text, at most, in bytes.
const RECORD_OVERHEAD: u32 = 4_096;
/// JSON may write one byte of text in so many.
const JSON_ESCAPE: u32 = 6;

impl Limits {
    /// Checks limits against each other: the largest message fits into a record, and nodes are heard
    /// more often than they are taken for gone.
    fn check_together(&self) -> Result<(), OutOfRange> {
        // A node that missed two announcements is not gone yet.
        let heard = self.announce_ms.saturating_mul(3);
        if self.silent_ms < heard {
            let (value, min) = (self.silent_ms.into(), heard.into());
            return Err(OutOfRange { name: "silent_ms", value, min, max: 600_000 });
        }
        let most = (self.record_bytes - RECORD_OVERHEAD) / JSON_ESCAPE;
        if self.message_bytes > most {
            let (value, max) = (self.message_bytes.into(), most.into());
            return Err(OutOfRange { name: "message_bytes", value, min: 1, max });
        }
        Ok(())
    }

    /// [`Limits::command_deadline_ms`] as a span.
    pub fn command_deadline(&self) -> Duration {
        Duration::from_millis(self.command_deadline_ms.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_message_fits_into_a_record() {
        assert_eq!(Limits::default().check(), Ok(()));
        let too_large = Limits { message_bytes: 256 * 1024, ..Limits::default() };
        assert_eq!(too_large.check().map_err(|error| error.name), Err("message_bytes"));
        let roomier = Limits { record_bytes: 4 * 1024 * 1024, ..too_large };
        assert_eq!(roomier.check(), Ok(()));
    }

    #[test]
    fn a_limit_of_zero_is_refused_where_it_makes_no_sense() {
        let none = Limits { batch_items: 0, ..Limits::default() };
        assert_eq!(none.check().map_err(|error| error.name), Err("batch_items"));
    }
}
