//! Who is in a channel.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::create::extend_new;
use super::{Case, Decided, Decision, Draft};
use crate::id::AccountId;
use crate::room::event::{Event, History, Role, RoomKind};
use crate::room::refused::{Reason, Refused};
use crate::room::system::Said;

impl Case<'_> {
    pub(super) fn add(&self, accounts: &[AccountId], bots: bool, history: History) -> Decided {
        self.membership()?;
        self.channel()?;
        self.not_archived()?;
        if accounts.is_empty() && self.request.from_channels.is_empty() && !self.request.foreign_channel {
            return Err(Reason::NobodyNamed.into());
        }
        if !bots {
            self.no_bots(accounts)?;
        }
        self.requester()?;
        self.all_known(accounts)?;
        self.no_foreign_channel()?;
        let mut new = Vec::new();
        let named = accounts.iter().chain(self.who_comes_along(bots));
        extend_new(&mut new, BTreeSet::new(), named.filter(|account| !self.state.is_member(account)));
        self.fits(self.state.member_count() as usize + new.len())?;
        self.few_enough(accounts.len().max(new.len()))?;
        self.none_disabled(&new)?;
        if new.is_empty() {
            return Ok(Decision::Record(alloc::vec![Event::Unchanged.into()]));
        }
        // A version belongs to whoever has a revision under it: the new one comes first, so that the added hold only that.
        let mut drafts: Vec<Draft> = Vec::new();
        let mut version = self.current()?;
        if history == History::None {
            drafts.push(self.rotation()?.into());
            version = version.next();
        }
        drafts.push(Event::MembersAdded { accounts: new.clone(), history }.into());
        drafts.push(self.system(version, 0, Said::MembersAdded { by: &self.request.account, accounts: &new }));
        Ok(Decision::Record(drafts))
    }

    pub(super) fn remove(&self, accounts: &[AccountId]) -> Decided {
        self.channel()?;
        let mut gone = Vec::new();
        extend_new(&mut gone, BTreeSet::new(), accounts.iter());
        if gone.is_empty() {
            return Err(Reason::NobodyNamed.into());
        }
        self.few_enough(accounts.len())?;
        let leaving = gone == [self.request.account.clone()];
        if leaving {
            self.membership()?;
        } else {
            self.may_govern()?;
        }
        if let Some(stranger) = gone.iter().find(|account| !self.state.is_member(account)) {
            return Err(
                Refused::new(Reason::TargetNotAMember, alloc::format!("accounts: {stranger} is not a member")).into()
            );
        }
        let (owners, members) = self.left_after(&gone);
        if owners == 0 && members > 0 {
            return Err(Reason::LastOwner.into());
        }
        let by = &self.request.account;
        let said = if leaving { Said::MemberLeft { account: by } } else { Said::MembersRemoved { accounts: &gone } };
        let mut drafts = self.departure(gone.clone(), said)?;
        if members == 0 && !self.state.is_archived() {
            drafts.push(Event::Archived.into());
        }
        Ok(Decision::Record(drafts))
    }

    /// Removes an account that is shut out of the whole server, from any kind of room.
    pub(super) fn expel(&self, account: &AccountId) -> Decided {
        if !self.requester()?.admin {
            return Err(Reason::NotAdmin.into());
        }
        if self.state.kind().is_none() {
            return Err(Reason::NotAMember.into());
        }
        if !self.state.is_member(account) {
            return Ok(Decision::Record(alloc::vec![Event::Unchanged.into()]));
        }
        let gone = alloc::vec![account.clone()];
        let (owners, members) = self.left_after(&gone);
        let mut drafts = self.departure(gone.clone(), Said::MembersRemoved { accounts: &gone })?;
        if self.state.kind() == Some(RoomKind::Channel) && owners == 0 {
            match self.longest_standing_besides(account)? {
                Some(heir) if members > 0 => {
                    drafts.insert(0, Event::RoleSet { account: heir.clone(), role: Role::Owner }.into());
                    drafts.push(self.system(self.state.next_version(), 1, Said::OwnerNamed { account: &heir }));
                }
                // Nobody is left, or bots alone, and those are never owners: the channel ends.
                _ if !self.state.is_archived() => drafts.push(Event::Archived.into()),
                _ => {}
            }
        }
        Ok(Decision::Record(drafts))
    }

    pub(super) fn set_role(&self, account: &AccountId, role: Role) -> Decided {
        self.channel()?;
        self.may_govern()?;
        let Some(member) = self.state.member(account) else {
            return Err(
                Refused::new(Reason::TargetNotAMember, alloc::format!("account: {account} is not a member")).into()
            );
        };
        if member.role == role {
            return Err(Reason::AlreadyThatRole.into());
        }
        if role == Role::Owner && self.profile(account).is_some_and(|profile| profile.bot) {
            return Err(Refused::new(Reason::BotNotAllowed, "account: a bot is never an owner").into());
        }
        if role == Role::Member && self.state.owner_count() == 1 {
            return Err(Reason::LastOwner.into());
        }
        Ok(Decision::Record(alloc::vec![Event::RoleSet { account: account.clone(), role }.into()]))
    }

    /// Removal, rotation and the message that tells of it: one record, so there is no moment between them.
    fn departure(&self, gone: Vec<AccountId>, said: Said<'_>) -> Result<Vec<Draft>, super::Stop> {
        let rotation = self.rotation()?;
        let next = self.state.next_version();
        Ok(alloc::vec![Event::MembersRemoved { accounts: gone }.into(), rotation.into(), self.system(next, 0, said),])
    }

    /// How many owners and members are there without these members.
    fn left_after(&self, gone: &[AccountId]) -> (u32, u32) {
        let owners =
            gone.iter().filter(|account| self.state.member(account).is_some_and(|member| member.role == Role::Owner));
        (self.state.owner_count() - owners.count() as u32, self.state.member_count() - gone.len() as u32)
    }

    /// Who joined after people were looked up may be a bot: where it would be such a one's turn, this is no time to decide.
    fn longest_standing_besides(&self, gone: &AccountId) -> Result<Option<AccountId>, super::Stop> {
        let heir = self
            .state
            .members_after(None)
            .filter(|(account, _)| *account != gone && self.profile(account).is_none_or(|profile| !profile.bot))
            .min_by_key(|(_, member)| member.since)
            .map(|(account, _)| account);
        match heir {
            Some(heir) if self.profile(heir).is_none() => Err(Reason::Overtaken.into()),
            heir => Ok(heir.cloned()),
        }
    }
}
