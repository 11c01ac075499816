//! A room as RULES.md has it, written from the rules with lists and no cleverness, to compare the real one with.
//!
//! [`Model::judge`] says what must come of a command: a refusal with its reason, the answer that was given before, or the
//! room as it is afterwards. It knows nothing of revisions but what it is told by [`Model::settle`].

mod agreement;
mod changes;

use std::sync::Arc;

use chamberlain_core::id::{AccountId, MessageId, RequestId, RoomId};
use chamberlain_core::room::{Command, Outcome, Reason, Role, RoomKind};

pub use agreement::agree;

/// A person or program that the model knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Its name.
    pub account: AccountId,
    /// Whether it is a program.
    pub bot: bool,
    /// Whether it may administer.
    pub admin: bool,
}

/// The limits that the model keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Most members.
    pub members: usize,
    /// From so many on, a room is large.
    pub large: usize,
    /// Messages under one version.
    pub messages_per_key: u64,
    /// Edits of one message.
    pub edits: u32,
}

/// Somebody in the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub account: AccountId,
    /// As what.
    pub role: Role,
    /// The how-manieth change brought it.
    pub since: u64,
}

/// Something that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// By whom.
    pub sender: AccountId,
    /// Its name.
    pub id: MessageId,
    /// The command that said it.
    pub command: Command,
    /// What was answered; none until it is settled.
    pub outcome: Option<Outcome>,
    /// How often it was edited.
    pub edits: u32,
    /// Whether it was taken back.
    pub deleted: bool,
    /// Who may read it, now or once.
    pub readers: Vec<AccountId>,
}

/// A command that was recorded: who asked for it under which id, and the answer; none until it is settled.
type Asked = (AccountId, RequestId, Command, Option<Outcome>);

/// What must come of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Refused for this reason.
    Refused(Reason),
    /// Answered as before, or because it is there; nothing is recorded.
    Answered(Outcome),
    /// Recorded; the room is this afterwards.
    Recorded(Box<Model>),
}

/// The room. A copy costs little: what grows is shared until it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    room: RoomId,
    people: Arc<[Person]>,
    bounds: Bounds,
    changes: u64,
    /// What it is for; none before it begins.
    pub kind: Option<RoomKind>,
    /// The channel's name.
    pub name: Option<String>,
    /// Whether it has ended.
    pub archived: bool,
    /// Who is in it.
    pub members: Vec<Member>,
    /// Which account may hold which version: pairs, in no order.
    pub holds: Arc<Vec<(AccountId, u32)>>,
    /// The current version.
    pub version: u32,
    /// Bodies under the current version.
    spoken: u64,
    /// Everything that members said.
    pub messages: Arc<Vec<Said>>,
    answered: Arc<Vec<Asked>>,
}

impl Model {
    /// Before the room begins.
    pub fn new(room: RoomId, people: Vec<Person>, bounds: Bounds) -> Self {
        Self {
            room,
            people: people.into(),
            bounds,
            changes: 0,
            kind: None,
            name: None,
            archived: false,
            members: Vec::new(),
            holds: Arc::default(),
            version: 0,
            spoken: 0,
            messages: Arc::default(),
            answered: Arc::default(),
        }
    }

    /// What must come of `command`, asked by `who` under the id `request`.
    pub fn judge(&self, who: &AccountId, request: RequestId, command: &Command) -> Verdict {
        if let Some((.., before, outcome)) = self.answered.iter().find(|(a, r, ..)| a == who && *r == request) {
            return match outcome {
                _ if before != command => Verdict::Refused(Reason::RequestReused),
                Some(outcome) => Verdict::Answered(*outcome),
                None => panic!("an answer was not settled"),
            };
        }
        let mut next = self.clone();
        next.changes += 1;
        match next.change(who, command) {
            Err(reason) => Verdict::Refused(reason),
            Ok(Some(outcome)) => Verdict::Answered(outcome),
            Ok(None) => {
                Arc::make_mut(&mut next.answered).push((who.clone(), request, command.clone(), None));
                Verdict::Recorded(Box::new(next))
            }
        }
    }

    /// The room after the server removed an account that is shut out, of itself.
    pub fn expelled(&self, account: &AccountId) -> Self {
        let mut next = self.clone();
        next.changes += 1;
        next.expel(account);
        next
    }

    /// Tells what was answered to the command that was recorded last.
    pub fn settle(&mut self, outcome: Outcome) {
        let (.., command, answer) = Arc::make_mut(&mut self.answered).last_mut().expect("something was recorded");
        *answer = Some(outcome);
        if let (Command::Submit(_), Some(said)) = (&*command, Arc::make_mut(&mut self.messages).last_mut()) {
            said.outcome = Some(outcome);
        }
    }

    /// Whether this account may hold this version.
    pub fn may_hold(&self, account: &AccountId, version: u32) -> bool {
        self.holds.contains(&(account.clone(), version))
    }

    /// The versions that this account may hold.
    pub fn held_by(&self, account: &AccountId) -> Vec<u32> {
        self.holds.iter().filter(|(holder, _)| holder == account).map(|(_, version)| *version).collect()
    }

    /// How many owners there are.
    pub fn owners(&self) -> usize {
        self.members.iter().filter(|member| member.role == Role::Owner).count()
    }

    /// Somebody's role in it.
    pub fn role(&self, account: &AccountId) -> Option<Role> {
        self.members.iter().find(|member| member.account == *account).map(|member| member.role)
    }

    fn person(&self, account: &AccountId) -> Option<&Person> {
        self.people.iter().find(|person| person.account == *account)
    }

    fn is_bot(&self, account: &AccountId) -> bool {
        self.person(account).is_some_and(|person| person.bot)
    }

    fn is_admin(&self, account: &AccountId) -> bool {
        self.person(account).is_some_and(|person| person.admin)
    }
}
