//! What each command does to the model: the rows of RULES.md, "Commands", one after the other.

use std::sync::Arc;

use chamberlain_core::id::{AccountId, MessageId, Revision};
use chamberlain_core::room::{Command, Content, History, NAME_MAX, Outcome, Reason, Role, RoomKind};

use super::{Member, Model, Said};

impl Model {
    pub(super) fn change(&mut self, who: &AccountId, command: &Command) -> Result<Option<Outcome>, Reason> {
        match command {
            Command::CreateChannel { name, accounts, .. } => self.create(who, name, accounts),
            Command::CreateDm { account } => self.create_dm(who, account),
            Command::Add { accounts, bots, history, .. } => self.add(who, accounts, *bots, *history),
            Command::Remove { accounts, .. } => self.remove(who, accounts),
            Command::SetRole { account, role, .. } => self.set_role(who, account, *role),
            Command::Rename { name, .. } => self.rename(who, name),
            Command::Archive { .. } => {
                self.governs_channel(who)?;
                self.open()?;
                self.archived = true;
                self.spoken += 1;
                Ok(None)
            }
            Command::Rotate { .. } => {
                let either_of_two = self.kind != Some(RoomKind::Channel) && self.role(who).is_some();
                if !either_of_two {
                    self.governs(who)?;
                }
                self.rotate();
                Ok(None)
            }
            Command::Submit(submit) => self.submit(who, submit.message, &submit.content, command),
            Command::Edit { revision, edit, content, .. } => self.edit(who, *revision, *edit, content),
            Command::Delete { revision, .. } => self.delete(who, *revision),
            Command::DisableAccount { account } => self.shut_out(who, account),
            Command::MarkRead { .. } => Err(Reason::Defect),
        }
    }

    fn create(&mut self, who: &AccountId, name: &str, accounts: &[AccountId]) -> Result<Option<Outcome>, Reason> {
        self.named(name)?;
        if accounts.iter().any(|account| self.is_bot(account)) {
            return Err(Reason::BotNotAllowed);
        }
        self.known(who)?;
        if self.is_bot(who) {
            return Err(Reason::BotNotAllowed);
        }
        accounts.iter().try_for_each(|account| self.known(account))?;
        match self.kind.replace(RoomKind::Channel) {
            None => {}
            Some(kind @ RoomKind::Channel) => {
                return Ok(Some(Outcome::Created { room: self.room, kind, exists: true }));
            }
            Some(_) => return Err(Reason::Defect),
        }
        self.enter(who, Role::Owner);
        accounts.iter().for_each(|account| self.enter(account, Role::Member));
        if self.members.len() > self.bounds.members {
            return Err(Reason::RoomFull);
        }
        self.name = Some(name.trim().into());
        self.holds = Arc::new(self.members.iter().map(|member| (member.account.clone(), 0)).collect());
        self.spoken = if self.members.len() > 1 { 2 } else { 1 };
        Ok(None)
    }

    fn create_dm(&mut self, who: &AccountId, other: &AccountId) -> Result<Option<Outcome>, Reason> {
        self.known(who)?;
        self.known(other)?;
        let began = self.kind.is_some();
        if began {
            let stranger = [who, other].into_iter().any(|account| self.held_by(account).is_empty());
            if stranger || self.kind == Some(RoomKind::Channel) {
                return Err(Reason::Defect);
            }
        } else {
            let bot = self.is_bot(who) || self.is_bot(other);
            self.kind = Some(if bot { RoomKind::BotDm } else { RoomKind::Dm });
            self.spoken = 1;
        }
        let before = self.members.len();
        for account in [who, other] {
            self.enter(account, Role::Member);
            self.hold_everything(account);
        }
        match self.kind {
            Some(kind) if began && before == self.members.len() => {
                Ok(Some(Outcome::Created { room: self.room, kind, exists: true }))
            }
            _ => Ok(None),
        }
    }

    fn add(
        &mut self,
        who: &AccountId,
        accounts: &[AccountId],
        bots: bool,
        history: History,
    ) -> Result<Option<Outcome>, Reason> {
        self.inside(who)?;
        self.channel()?;
        self.open()?;
        if accounts.is_empty() {
            return Err(Reason::NobodyNamed);
        }
        if !bots && accounts.iter().any(|account| self.is_bot(account)) {
            return Err(Reason::BotNotAllowed);
        }
        accounts.iter().try_for_each(|account| self.known(account))?;
        let new: Vec<AccountId> = accounts.iter().filter(|account| self.role(account).is_none()).cloned().collect();
        new.iter().for_each(|account| self.enter(account, Role::Member));
        if self.members.len() > self.bounds.members {
            return Err(Reason::RoomFull);
        }
        if new.is_empty() {
            return Ok(None);
        }
        match history {
            History::All => new.iter().for_each(|account| self.hold_everything(account)),
            History::None => self.rotate(),
        }
        self.spoken += 1;
        Ok(None)
    }

    fn remove(&mut self, who: &AccountId, accounts: &[AccountId]) -> Result<Option<Outcome>, Reason> {
        self.channel()?;
        if accounts.is_empty() {
            return Err(Reason::NobodyNamed);
        }
        if accounts.iter().all(|account| account == who) {
            self.inside(who)?;
        } else {
            self.governs(who)?;
        }
        if accounts.iter().any(|account| self.role(account).is_none()) {
            return Err(Reason::TargetNotAMember);
        }
        self.members.retain(|member| !accounts.contains(&member.account));
        if self.owners() == 0 && !self.members.is_empty() {
            return Err(Reason::LastOwner);
        }
        self.rotate();
        self.spoken += 1;
        self.archived |= self.members.is_empty();
        Ok(None)
    }

    fn shut_out(&mut self, who: &AccountId, account: &AccountId) -> Result<Option<Outcome>, Reason> {
        self.known(who)?;
        if !self.is_admin(who) {
            return Err(Reason::NotAdmin);
        }
        if self.kind.is_none() {
            return Err(Reason::NotAMember);
        }
        self.expel(account);
        Ok(None)
    }

    pub(super) fn expel(&mut self, account: &AccountId) {
        if self.role(account).is_none() {
            return;
        }
        self.members.retain(|member| member.account != *account);
        self.rotate();
        self.spoken += 1;
        if self.kind == Some(RoomKind::Channel) && self.owners() == 0 {
            let people = self.people.clone();
            let bot = |account: &AccountId| people.iter().any(|person| person.account == *account && person.bot);
            let mut heirs: Vec<&mut Member> = self.members.iter_mut().filter(|member| !bot(&member.account)).collect();
            heirs.sort_by_key(|member| (member.since, member.account.clone()));
            match heirs.into_iter().next() {
                Some(heir) => {
                    heir.role = Role::Owner;
                    self.spoken += 1;
                }
                None => self.archived = true,
            }
        }
    }

    fn set_role(&mut self, who: &AccountId, account: &AccountId, role: Role) -> Result<Option<Outcome>, Reason> {
        self.governs_channel(who)?;
        match self.role(account) {
            None => return Err(Reason::TargetNotAMember),
            Some(now) if now == role => return Err(Reason::AlreadyThatRole),
            Some(_) if role == Role::Owner && self.is_bot(account) => return Err(Reason::BotNotAllowed),
            Some(_) => {}
        }
        for member in &mut self.members {
            if member.account == *account {
                member.role = role;
            }
        }
        if self.owners() == 0 { Err(Reason::LastOwner) } else { Ok(None) }
    }

    fn rename(&mut self, who: &AccountId, name: &str) -> Result<Option<Outcome>, Reason> {
        self.governs_channel(who)?;
        self.open()?;
        self.named(name)?;
        self.name = Some(name.trim().into());
        self.spoken += 1;
        Ok(None)
    }

    fn submit(
        &mut self,
        who: &AccountId,
        id: MessageId,
        content: &Content,
        command: &Command,
    ) -> Result<Option<Outcome>, Reason> {
        self.inside(who)?;
        self.open()?;
        self.not_blank(content)?;
        let privileged = self.role(who) == Some(Role::Owner) || self.is_bot(who) || self.is_admin(who);
        if self.members.len() >= self.bounds.large && !privileged {
            return Err(Reason::RestrictedToOwners);
        }
        self.fresh(content)?;
        if let Some(said) = self.messages.iter().find(|said| said.sender == *who && said.id == id) {
            return match said.outcome {
                Some(outcome) if said.command == *command => Ok(Some(outcome)),
                _ => Err(Reason::MessageReused),
            };
        }
        Arc::make_mut(&mut self.messages).push(Said {
            sender: who.clone(),
            id,
            command: command.clone(),
            outcome: None,
            edits: 0,
            deleted: false,
            readers: self.members.iter().map(|member| member.account.clone()).collect(),
        });
        self.spoke();
        Ok(None)
    }

    fn edit(
        &mut self,
        who: &AccountId,
        revision: Revision,
        edit: u32,
        content: &Content,
    ) -> Result<Option<Outcome>, Reason> {
        self.inside(who)?;
        self.open()?;
        let at = self.message_at(revision)?;
        if self.messages[at].sender != *who {
            return Err(Reason::NotSender);
        }
        if self.messages[at].deleted {
            return Err(Reason::NoSuchMessage);
        }
        self.not_blank(content)?;
        if self.messages[at].edits >= self.bounds.edits {
            return Err(Reason::TooMany);
        }
        if edit != self.messages[at].edits + 1 {
            return Err(Reason::StaleEdit);
        }
        self.fresh(content)?;
        Arc::make_mut(&mut self.messages)[at].edits = edit;
        self.spoke();
        Ok(None)
    }

    fn delete(&mut self, who: &AccountId, revision: Revision) -> Result<Option<Outcome>, Reason> {
        if !self.is_admin(who) || self.kind.is_none() {
            self.inside(who)?;
        }
        let at = self.message_at(revision)?;
        let may = self.messages[at].sender == *who || self.role(who) == Some(Role::Owner) || self.is_admin(who);
        if !may {
            return Err(Reason::NotSender);
        }
        Arc::make_mut(&mut self.messages)[at].deleted = true;
        Ok(None)
    }

    fn message_at(&self, revision: Revision) -> Result<usize, Reason> {
        let stands = |said: &Said| matches!(said.outcome, Some(Outcome::Sent { revision: at, .. }) if at == revision);
        self.messages.iter().position(stands).ok_or(Reason::NoSuchMessage)
    }

    fn spoke(&mut self) {
        self.spoken += 1;
        if self.spoken >= self.bounds.messages_per_key {
            self.rotate();
        }
    }

    fn rotate(&mut self) {
        self.version += 1;
        self.spoken = 0;
        let held = self.members.iter().map(|member| (member.account.clone(), self.version));
        Arc::make_mut(&mut self.holds).extend(held);
    }

    fn enter(&mut self, account: &AccountId, role: Role) {
        if self.role(account).is_none() {
            self.members.push(Member { account: account.clone(), role, since: self.changes });
        }
    }

    fn hold_everything(&mut self, account: &AccountId) {
        for version in 0..=self.version {
            if !self.may_hold(account, version) {
                Arc::make_mut(&mut self.holds).push((account.clone(), version));
            }
        }
        for said in Arc::make_mut(&mut self.messages) {
            if !said.readers.contains(account) {
                said.readers.push(account.clone());
            }
        }
    }

    fn named(&self, name: &str) -> Result<(), Reason> {
        let length = name.trim().chars().count();
        if length == 0 || length > NAME_MAX { Err(Reason::InvalidName) } else { Ok(()) }
    }

    fn not_blank(&self, content: &Content) -> Result<(), Reason> {
        match content {
            Content::Plain { text } if text.trim().is_empty() => Err(Reason::Empty),
            _ => Ok(()),
        }
    }

    fn fresh(&self, content: &Content) -> Result<(), Reason> {
        match content {
            Content::Sealed(envelope) if envelope.version.0 != self.version => Err(Reason::StaleKey),
            _ => Ok(()),
        }
    }

    fn known(&self, account: &AccountId) -> Result<(), Reason> {
        if self.person(account).is_some() { Ok(()) } else { Err(Reason::UnknownAccount) }
    }

    fn inside(&self, who: &AccountId) -> Result<(), Reason> {
        if self.role(who).is_some() { Ok(()) } else { Err(Reason::NotAMember) }
    }

    fn channel(&self) -> Result<(), Reason> {
        match self.kind {
            Some(RoomKind::Channel) => Ok(()),
            Some(_) => Err(Reason::NotAChannel),
            None => Err(Reason::NotAMember),
        }
    }

    fn open(&self) -> Result<(), Reason> {
        if self.archived { Err(Reason::Archived) } else { Ok(()) }
    }

    fn governs(&self, who: &AccountId) -> Result<(), Reason> {
        match self.role(who) {
            _ if self.is_admin(who) && self.kind.is_some() => Ok(()),
            Some(Role::Owner) => Ok(()),
            Some(Role::Member) => Err(Reason::NotOwner),
            None => Err(Reason::NotAMember),
        }
    }

    fn governs_channel(&self, who: &AccountId) -> Result<(), Reason> {
        self.channel()?;
        self.governs(who)
    }
}
