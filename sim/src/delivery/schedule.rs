//! What a run is like, and what happens in it, as data: shrunk by proptest, replayed from a list.
//!
//! Numbers that pick a room, a device or something that waits are taken modulo how many there are, so that every schedule makes
//! sense in every setting.

use chamberlain_core::room::History;
use proptest::prelude::*;

use super::author::Deed;

/// Accounts in play; the first one owns every room.
pub const CAST: [&str; 4] = ["ada", "bob", "cyd", "dan"];

/// What the run is like.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Rooms.
    pub rooms: u8,
    /// Revisions per frame and claim.
    pub batch_items: u32,
    /// Bytes per frame, about.
    pub frame_bytes: u32,
    /// Records that a hub holds.
    pub tail: u32,
    /// Versions whose keys are refused to everybody, modulo five.
    pub refuse: Option<u32>,
    /// Per device: the account, the codec, whether it takes batches.
    pub devices: Vec<(u8, bool, bool)>,
}

/// One thing that happens.
#[derive(Debug, Clone)]
pub enum Act {
    /// A record is appended: deeds of devices, or of nobody on a socket.
    Commit(u8, Vec<(Deed, Option<u8>)>),
    /// The hub is shown what was appended.
    Show(u8),
    /// A device is told which rooms moved.
    Notice(u8),
    /// A device's transport takes so many frames.
    Read(u8, u8),
    /// An effect that is under way ends: which, and whether well.
    Finish(u8, u8, bool),
    /// A device opens a room, from somewhere, perhaps with a filter.
    Open(u8, u8, u8, bool),
    /// A device closes a room.
    Close(u8, u8),
    /// A device loses its connection and makes another.
    Reconnect(u8),
    /// A device is sent what happened to its account.
    Tell(u8),
    /// An answer reaches a device's socket.
    Reply(u8, u8),
    /// Milliseconds pass.
    Wait(u16),
}

/// Settings.
pub fn settings() -> impl Strategy<Value = Setting> {
    let device = (0..CAST.len() as u8, any::<bool>(), prop::bool::weighted(0.7));
    let refuse = prop::option::weighted(0.3, 0..5_u32);
    let devices = prop::collection::vec(device, 1..6);
    (prop_oneof![3 => 1..4_u8, 1 => 5..8_u8], 1..6_u32, 600..4_000_u32, 1..8_u32, refuse, devices).prop_map(
        |(rooms, batch_items, frame_bytes, tail, refuse, devices)| Setting {
            rooms,
            batch_items,
            frame_bytes,
            tail,
            refuse,
            devices,
        },
    )
}

/// Schedules.
pub fn acts(most: usize) -> impl Strategy<Value = Vec<Act>> {
    let history = prop_oneof![Just(History::All), Just(History::None)];
    let deed = prop_oneof![
        8 => (0..400_u16).prop_map(Deed::Say),
        2 => any::<u8>().prop_map(Deed::Edit),
        2 => any::<u8>().prop_map(Deed::Delete),
        3 => (any::<u8>(), history).prop_map(|(who, history)| Deed::Add(who, history)),
        1 => (1..4_u8).prop_map(Deed::Remove),
        1 => Just(Deed::Rotate),
        1 => Just(Deed::Nothing),
    ];
    let deeds = prop::collection::vec((deed, prop::option::of(any::<u8>())), 1..4);
    let one = any::<u8>;
    let act = prop_oneof![
        6 => (one(), deeds).prop_map(|(room, deeds)| Act::Commit(room, deeds)),
        4 => one().prop_map(Act::Show),
        6 => one().prop_map(Act::Notice),
        6 => (one(), 1..5_u8).prop_map(|(device, frames)| Act::Read(device, frames)),
        6 => (one(), one(), prop::bool::weighted(0.8)).prop_map(|(device, which, well)| Act::Finish(device, which, well)),
        4 => (one(), one(), one(), prop::bool::weighted(0.2)).prop_map(|(d, room, from, kinds)| Act::Open(d, room, from, kinds)),
        1 => (one(), one()).prop_map(|(device, room)| Act::Close(device, room)),
        1 => one().prop_map(Act::Reconnect),
        2 => one().prop_map(Act::Tell),
        3 => (one(), one()).prop_map(|(device, which)| Act::Reply(device, which)),
        1 => (0..3_000_u16).prop_map(Act::Wait),
    ];
    prop::collection::vec(act, 1..most)
}
