//! What a command does to a room: refused, answered from memory, or a list of events to record.
//!
//! Pure, and free to run again: whatever it still needs (a staged key, the secret of the current version, the message that
//! an edit is about) it names in [`Decision::Needs`] and is asked once more when that is there. The checks run in the order
//! of the table in RULES.md; the look-up of earlier answers comes before all of them.

mod create;
mod membership;
mod message;
mod settings;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::command::{Command, Outcome};
use super::event::{Event, Role, RoomKind};
use super::refused::{Reason, Refused};
use super::requests::Requests;
use super::state::{Membership, RoomState};
use super::system;
use crate::id::{AccountId, KeyVersion, MessageId, RequestId, Revision, RoomId};
use crate::keys::{BodyKind, Envelope, Opener, RoomPublic};
use crate::limits::Limits;
use crate::site::{Fingerprint, SiteKeys};

/// What a decision needs to know of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Its name for people: RULES.md, "System messages".
    pub name: String,
    /// Whether it is a program.
    pub bot: bool,
    /// Whether it is shut out.
    pub disabled: bool,
    /// Whether it may administer the server.
    pub admin: bool,
}

/// A command with everything around it that is not in the room. Nodes hand it to each other, so fields are only ever added at
/// the end; a node that cannot read one does not carry it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The room: named by the command, or derived for a creation.
    pub room: RoomId,
    /// Who asks.
    pub account: AccountId,
    /// The idempotency key.
    pub id: RequestId,
    /// Keyed hash of the command.
    pub fingerprint: Fingerprint,
    /// What is asked.
    pub command: Command,
    /// Members of the channels that the command names.
    pub from_channels: Vec<AccountId>,
    /// Whether it names a channel that the requester is not in.
    pub foreign_channel: bool,
    /// Those of all accounts named that exist, the requester among them; the members of the channels named; when an account
    /// is disabled, all members.
    pub people: BTreeMap<AccountId, Profile>,
}

/// A message that an edit or a deletion is about, as its record has it: it never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its revision.
    pub revision: Revision,
    /// The sender and the sender's name for it; none when no member's message stands there.
    pub message: Option<(AccountId, MessageId)>,
}

/// What a decision may use beside the fold.
pub struct Context<'a> {
    /// Limits of the server.
    pub limits: &'a Limits,
    /// Keys of the site.
    pub keys: &'a SiteKeys,
    /// A key that the vault holds under the version after the current one.
    pub staged: Option<(KeyVersion, RoomPublic)>,
    /// Opens what is sealed under the current version.
    pub opener: Option<&'a mut Opener>,
    /// The message the command is about.
    pub target: Option<&'a Target>,
}

/// What comes of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// To be recorded, as one entry.
    Record(Vec<Draft>),
    /// Answered without a record: it was carried out before.
    Answered(Outcome),
    /// To be asked again when this is there.
    Needs(Need),
}

/// What a decision waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// A secret under this version in the vault.
    Stage(KeyVersion),
    /// The secret of this version, to open with.
    Secret(KeyVersion),
    /// The message at this revision.
    Target(Revision),
}

/// An event to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The event.
    pub event: Event,
    /// Its body, if it has one.
    pub body: DraftBody,
}

/// The body of an event to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DraftBody {
    /// None.
    None,
    /// Sealed by the client, opened and believed.
    Sealed(Envelope),
    /// To be sealed by the sequencer, under the version that the event names.
    Seal {
        /// Who speaks.
        kind: BodyKind,
        /// The message it belongs to.
        message: MessageId,
        /// Who the message is by.
        sender: AccountId,
        /// 0, or the number of the edit.
        edit: u32,
        /// What it says.
        plaintext: Vec<u8>,
    },
}

impl From<Event> for Draft {
    fn from(event: Event) -> Self {
        Self { event, body: DraftBody::None }
    }
}

/// Decides a command.
pub fn decide(
    state: &RoomState,
    requests: &Requests,
    request: &Request,
    context: &mut Context<'_>,
) -> Result<Decision, Refused> {
    if let Some(answered) = requests.answered(&request.account, request.id) {
        return if answered.fingerprint == request.fingerprint {
            Ok(Decision::Answered(answered.outcome))
        } else {
            Err(Reason::RequestReused.into())
        };
    }
    let case = Case { state, requests, request, limits: context.limits, keys: context.keys, staged: context.staged };
    let decided = match &request.command {
        Command::CreateChannel { name, accounts, .. } => case.create_channel(name, accounts),
        Command::CreateDm { account } => case.create_dm(account),
        Command::Add { accounts, bots, history, .. } => case.add(accounts, *bots, *history),
        Command::Remove { accounts, .. } => case.remove(accounts),
        Command::DisableAccount { account } => case.expel(account),
        Command::SetRole { account, role, .. } => case.set_role(account, *role),
        Command::Rename { name, .. } => case.rename(name),
        Command::Archive { .. } => case.archive(),
        Command::Rotate { .. } => case.rotate(),
        Command::Submit(submit) => case.submit(submit, context.opener.as_deref_mut()),
        Command::Edit { revision, edit, content, .. } => {
            case.edit(*revision, *edit, content, context.target, context.opener.as_deref_mut())
        }
        Command::Delete { revision, .. } => case.delete(*revision, context.target),
        Command::MarkRead { .. } => Err(Refused::new(Reason::Defect, "a read mark is no event of the room").into()),
    };
    match decided {
        Ok(decision) => Ok(decision),
        Err(Stop::Refused(refused)) => Err(refused),
        Err(Stop::Needs(need)) => Ok(Decision::Needs(need)),
    }
}

/// Why deciding stopped before there was a decision.
enum Stop {
    Refused(Refused),
    Needs(Need),
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason.into())
    }
}

type Decided = Result<Decision, Stop>;

/// One command in front of one room.
struct Case<'a> {
    state: &'a RoomState,
    requests: &'a Requests,
    request: &'a Request,
    limits: &'a Limits,
    keys: &'a SiteKeys,
    staged: Option<(KeyVersion, RoomPublic)>,
}

impl Case<'_> {
    fn profile(&self, account: &AccountId) -> Option<&Profile> {
        self.request.people.get(account)
    }

    fn requester(&self) -> Result<&Profile, Stop> {
        match self.profile(&self.request.account) {
            Some(profile) if profile.disabled => Err(Reason::AccountDisabled.into()),
            Some(profile) => Ok(profile),
            None => Err(Reason::UnknownAccount.into()),
        }
    }

    /// The requester's membership. Who is not in a room is not told whether it exists.
    fn membership(&self) -> Result<Membership, Stop> {
        self.state.member(&self.request.account).ok_or(Reason::NotAMember.into())
    }

    fn channel(&self) -> Result<(), Stop> {
        match self.state.kind() {
            Some(RoomKind::Channel) => Ok(()),
            Some(_) => Err(Reason::NotAChannel.into()),
            None => Err(Reason::NotAMember.into()),
        }
    }

    fn not_archived(&self) -> Result<(), Stop> {
        if self.state.is_archived() { Err(Reason::Archived.into()) } else { Ok(()) }
    }

    /// An owner of the room, or an administrator (who need not be in it).
    fn may_govern(&self) -> Result<(), Stop> {
        if self.requester()?.admin && self.state.kind().is_some() {
            return Ok(());
        }
        match self.membership()?.role {
            Role::Owner => Ok(()),
            Role::Member => Err(Reason::NotOwner.into()),
        }
    }

    fn all_known(&self, accounts: &[AccountId]) -> Result<(), Stop> {
        match accounts.iter().find(|account| self.profile(account).is_none()) {
            Some(unknown) => {
                Err(Refused::new(Reason::UnknownAccount, alloc::format!("accounts: there is no account {unknown}"))
                    .into())
            }
            None => Ok(()),
        }
    }

    /// Bounds what one record holds: accounts named, or new ones with the members of the channels named.
    fn few_enough(&self, accounts: usize) -> Result<(), Stop> {
        let most = self.limits.accounts_per_command;
        if accounts > most as usize {
            let message = alloc::format!("accounts: {accounts} in one command, the limit is {most}");
            return Err(Refused::new(Reason::TooMany, message).into());
        }
        Ok(())
    }

    /// The rotation that moves to the next version; needs its secret to be in the vault.
    fn rotation(&self) -> Result<Event, Stop> {
        let next = self.state.next_version();
        match self.staged {
            Some((version, public)) if version == next => Ok(Event::KeyRotated { version, public }),
            _ => Err(Stop::Needs(Need::Stage(next))),
        }
    }

    /// A system message under `version`, the `nth` of this request.
    fn system(&self, version: KeyVersion, nth: u8, said: system::Said<'_>) -> Draft {
        let message = self.keys.system_message_id(self.request.room, &self.request.account, self.request.id, nth);
        let content = said.content(&|account| {
            self.profile(account).map_or_else(|| account.as_str().into(), |profile| profile.name.clone())
        });
        Draft {
            event: Event::Message { message, kind: BodyKind::System, version, ordinal: self.state.messages() },
            body: DraftBody::Seal {
                kind: BodyKind::System,
                message,
                sender: self.request.account.clone(),
                edit: 0,
                plaintext: content.to_bytes(),
            },
        }
    }

    fn current(&self) -> Result<KeyVersion, Stop> {
        self.state.current_key().map(|key| key.version).ok_or(Reason::NotAMember.into())
    }
}
