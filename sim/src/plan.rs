//! What people in a simulated house ask for: small plans over small sets of names, so that they meet each other often.
//!
//! A plan names things by number ("the third message", "the next edit"); [`Plan::command`] makes a command of it with what
//! is known when it is carried out. Plans shrink; commands would not.

use std::collections::BTreeMap;

use chamberlain_core::id::{AccountId, KeyVersion, MessageId, RequestId, Revision, RoomId, SiteId};
use chamberlain_core::keys::{BodyKind, Claim, RoomPublic, Sealer};
use chamberlain_core::limits::Limits;
use chamberlain_core::room::{Command, Content, History, MessageContent, Profile, Role, Submit};
use chamberlain_core::site::{MasterKey, SiteKeys};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use crate::room_model::{Bounds, Model, Person};

/// Everybody there is; the sixth is an administrator and the seventh a bot.
pub const NAMES: [&str; 7] = ["ada", "bob", "cyd", "dan", "eve", "root", "robot"];

/// What somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Who, as an index into [`NAMES`].
    pub who: u8,
    /// What.
    pub what: What,
}

/// What is wanted; people as indexes into [`NAMES`], messages counted from the first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of the commands of the same names")]
pub enum What {
    Begin {
        others: Vec<u8>,
    },
    BeginDm {
        other: u8,
    },
    Add {
        accounts: Vec<u8>,
        bots: bool,
        none: bool,
    },
    Remove {
        accounts: Vec<u8>,
    },
    Leave,
    SetRole {
        account: u8,
        owner: bool,
    },
    Rename {
        name: u8,
    },
    Archive,
    Rotate,
    /// Says something under one of a few names, sealed by the client so many versions late, or in the clear.
    Say {
        message: u8,
        text: u8,
        sealed: Option<u8>,
    },
    /// Edits a message, with a number so much beside the right one.
    Edit {
        which: u8,
        beside: i8,
        text: u8,
    },
    Delete {
        which: u8,
    },
    ShutOut {
        account: u8,
    },
}

/// What whoever carries out a plan knows of the room.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The messages it saw: where they stand, and how many edits they have.
    pub messages: Vec<(Revision, u32)>,
    /// The public halves it saw, by version.
    pub publics: Vec<RoomPublic>,
}

impl Plan {
    /// Who asks.
    pub fn account(&self) -> AccountId {
        account(self.who)
    }

    /// The command, with what is known now; `seed` is for sealing.
    pub fn command(&self, room: RoomId, known: &Known, seed: u64) -> Command {
        let accounts = |list: &[u8]| list.iter().map(|index| account(*index)).collect();
        let message = |which: &u8| match known.messages.len() {
            0 => (Revision(u64::from(*which)), 0),
            count => known.messages[usize::from(*which) % count],
        };
        match &self.what {
            What::Begin { others } => {
                Command::CreateChannel { name: "Hall".into(), accounts: accounts(others), channels: Vec::new() }
            }
            What::BeginDm { other } => Command::CreateDm { account: account(*other) },
            What::Add { accounts: named, bots, none } => Command::Add {
                room,
                accounts: accounts(named),
                channels: Vec::new(),
                bots: *bots,
                history: if *none { History::None } else { History::All },
            },
            What::Remove { accounts: named } => Command::Remove { room, accounts: accounts(named) },
            What::Leave => Command::Remove { room, accounts: vec![self.account()] },
            What::SetRole { account: member, owner } => Command::SetRole {
                room,
                account: account(*member),
                role: if *owner { Role::Owner } else { Role::Member },
            },
            What::Rename { name } => {
                Command::Rename { room, name: " ".repeat(1 + usize::from(*name % 2)) + name_of(*name) }
            }
            What::Archive => Command::Archive { room },
            What::Rotate => Command::Rotate { room },
            What::Say { message, text, sealed } => {
                let message = message_id(*message);
                let content = match sealed {
                    Some(late) if !known.publics.is_empty() => self.sealed(room, message, *text, *late, known, seed),
                    _ => plain(*text),
                };
                Command::Submit(Submit { room, message, content })
            }
            What::Edit { which, beside, text } => {
                let (revision, edits) = message(which);
                let edit = (edits + 1).saturating_add_signed((*beside).into());
                Command::Edit { room, revision, edit, content: plain(*text) }
            }
            What::Delete { which } => Command::Delete { room, revision: message(which).0 },
            What::ShutOut { account: member } => Command::DisableAccount { account: account(*member) },
        }
    }

    fn sealed(&self, room: RoomId, message: MessageId, text: u8, late: u8, known: &Known, seed: u64) -> Content {
        let at = (known.publics.len() - 1).saturating_sub(late.into());
        let version = KeyVersion(at as u32);
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut sealer = Sealer::new(&site(), room, version, &known.publics[at], &mut rng).expect("a key of the log");
        let sender = self.account();
        let claim = Claim { room, version, kind: BodyKind::Message, sender: &sender, message, edit: 0 };
        let plaintext = MessageContent { text: words(1 + text % 2) }.to_bytes();
        Content::Sealed(sealer.seal(&claim, &plaintext).expect("a fresh sealer"))
    }
}

/// The account of a number.
pub fn account(index: u8) -> AccountId {
    NAMES[usize::from(index) % NAMES.len()].parse().expect("valid")
}

/// The site of the simulated house.
pub fn site() -> SiteId {
    "sim".parse().expect("valid")
}

/// Its derived keys.
pub fn site_keys() -> SiteKeys {
    SiteKeys::new(site(), &MasterKey::from_bytes([0x11; 32]))
}

/// The request id of a number.
pub fn request_id(n: u64) -> RequestId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    RequestId::from_random(bytes)
}

/// Everybody's directory entry.
pub fn profiles() -> BTreeMap<AccountId, Profile> {
    let profile = |person: Person| {
        let name = person.account.as_str().to_uppercase();
        (person.account, Profile { name, bot: person.bot, disabled: false, admin: person.admin })
    };
    people().into_iter().map(profile).collect()
}

/// Everybody, as the model knows them.
pub fn people() -> Vec<Person> {
    (0..NAMES.len() as u8).map(|n| Person { account: account(n), admin: n == 5, bot: n == 6 }).collect()
}

/// Limits that are met often.
pub fn limits() -> Limits {
    Limits {
        room_members: 6,
        large_room: 5,
        messages_per_key: 9,
        edits_per_message: 3,
        accounts_per_command: 6,
        snapshot_every: 16,
        room_queue: 10_000,
        ..Limits::default()
    }
}

/// The same, for the model.
pub fn bounds() -> Bounds {
    Bounds { members: 6, large: 5, messages_per_key: 9, edits: 3 }
}

/// The model of a room that did not begin yet.
pub fn model(room: RoomId) -> Model {
    Model::new(room, people(), bounds())
}

/// Plans of everybody in a room, after it began.
pub fn plans() -> impl Strategy<Value = Plan> {
    (prop_oneof![3 => Just(0_u8), 4 => 1..5_u8, 1 => 5..7_u8], whats()).prop_map(|(who, what)| Plan { who, what })
}

/// How a room begins: a channel, or the room of two.
pub fn beginnings() -> impl Strategy<Value = Plan> {
    prop_oneof![
        4 => proptest::collection::vec(1..6_u8, 0..4).prop_map(|others| What::Begin { others }),
        1 => prop_oneof![Just(0_u8), Just(1), Just(6)].prop_map(|other| What::BeginDm { other }),
    ]
    .prop_map(|what| Plan { who: 0, what })
}

fn whats() -> impl Strategy<Value = What> {
    let some = || proptest::collection::vec(0..7_u8, 0..3);
    prop_oneof![
        1 => (0..7_u8).prop_map(|other| What::BeginDm { other }),
        5 => (some(), any::<bool>(), any::<bool>()).prop_map(|(accounts, bots, none)| What::Add { accounts, bots, none }),
        4 => some().prop_map(|accounts| What::Remove { accounts }),
        2 => Just(What::Leave),
        3 => (0..7_u8, any::<bool>()).prop_map(|(account, owner)| What::SetRole { account, owner }),
        1 => (0..4_u8).prop_map(|name| What::Rename { name }),
        1 => prop_oneof![9 => Just(What::Rotate), 1 => Just(What::Archive)],
        9 => (0..12_u8, 0..3_u8, prop_oneof![2 => Just(None), 1 => (0..2_u8).prop_map(Some)])
            .prop_map(|(message, text, sealed)| What::Say { message, text, sealed }),
        3 => (0..4_u8, prop_oneof![4 => Just(0_i8), 1 => -1..2_i8], 0..3_u8)
            .prop_map(|(which, beside, text)| What::Edit { which, beside, text }),
        2 => (0..4_u8).prop_map(|which| What::Delete { which }),
        1 => (0..7_u8).prop_map(|account| What::ShutOut { account }),
    ]
}

fn plain(text: u8) -> Content {
    Content::Plain { text: words(text) }
}

/// The first of them is blank.
fn words(text: u8) -> String {
    [" ", "hello", "goodbye \u{1f44b}"][usize::from(text) % 3].into()
}

fn name_of(name: u8) -> &'static str {
    ["", "Hall", "Tower", "Cellar"][usize::from(name) % 4]
}

fn message_id(message: u8) -> MessageId {
    format!("message{message:013}").parse().expect("valid")
}
