//! Beginning a room.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::{Case, Decided, Decision, Draft, Stop};
use crate::id::{AccountId, KeyVersion};
use crate::room::command::Outcome;
use crate::room::event::{Event, History, RoomKind, RoomName};
use crate::room::refused::{Reason, Refused};
use crate::room::system::Said;

impl Case<'_> {
    pub(super) fn create_channel(&self, name: &str, accounts: &[AccountId]) -> Decided {
        let name: RoomName =
            name.parse().map_err(|error| Refused::new(Reason::InvalidName, alloc::format!("{error}")))?;
        self.no_bots(accounts)?;
        if self.requester()?.bot {
            return Err(Refused::new(Reason::BotNotAllowed, "a bot is never an owner, so it begins no channel").into());
        }
        self.all_known(accounts)?;
        self.no_foreign_channel()?;
        let requester = &self.request.account;
        let mut members = Vec::with_capacity(1 + accounts.len() + self.request.from_channels.len());
        members.push(requester.clone());
        let seen: BTreeSet<_> = core::iter::once(requester).collect();
        extend_new(&mut members, seen, accounts.iter().chain(self.who_comes_along(false)));
        self.fits(members.len())?;
        self.few_enough(accounts.len().max(members.len() - 1))?;
        self.none_disabled(&members)?;
        match self.state.kind() {
            None => {}
            Some(kind @ RoomKind::Channel) => {
                return Ok(Decision::Answered(Outcome::Created { room: self.request.room, kind, exists: true }));
            }
            Some(_) => return Err(Refused::new(Reason::Defect, "the room is no channel").into()),
        }
        let added: Vec<AccountId> = members[1..].to_vec();
        let mut drafts = self.birth(RoomKind::Channel, Some(name), Some(requester.clone()), members)?;
        drafts.push(self.system(KeyVersion::FIRST, 0, Said::RoomCreated));
        if !added.is_empty() {
            drafts.push(self.system(KeyVersion::FIRST, 1, Said::MembersAdded { by: requester, accounts: &added }));
        }
        Ok(Decision::Record(drafts))
    }

    pub(super) fn create_dm(&self, other: &AccountId) -> Decided {
        let requester = self.requester()?;
        let counterpart = match self.profile(other) {
            None => {
                return Err(Refused::new(
                    Reason::UnknownAccount,
                    alloc::format!("account: there is no account {other}"),
                )
                .into());
            }
            Some(profile) if profile.disabled => {
                return Err(
                    Refused::new(Reason::AccountDisabled, alloc::format!("account: {other} is disabled")).into()
                );
            }
            Some(profile) => profile,
        };
        if let Some(kind) = self.state.kind() {
            return self.find_dm(kind, other);
        }
        let kind = if counterpart.bot || requester.bot { RoomKind::BotDm } else { RoomKind::Dm };
        let mut members = alloc::vec![self.request.account.clone()];
        if *other != self.request.account {
            members.push(other.clone());
        }
        let mut drafts = self.birth(kind, None, None, members)?;
        drafts.push(self.system(KeyVersion::FIRST, 0, Said::RoomCreated));
        Ok(Decision::Record(drafts))
    }

    /// The room is there. Who was shut out of the server, and so out of the room, and is back now, is back in it.
    fn find_dm(&self, kind: RoomKind, other: &AccountId) -> Decided {
        let mut missing = Vec::new();
        let both = [&self.request.account, other];
        if kind == RoomKind::Channel || both.iter().any(|account| !self.state.was_member(account)) {
            return Err(Refused::new(Reason::Defect, "the room is not of these two").into());
        }
        extend_new(&mut missing, BTreeSet::new(), both.into_iter().filter(|account| !self.state.is_member(account)));
        if missing.is_empty() {
            return Ok(Decision::Answered(Outcome::Created { room: self.request.room, kind, exists: true }));
        }
        Ok(Decision::Record(alloc::vec![Event::MembersAdded { accounts: missing, history: History::All }.into()]))
    }

    fn birth(
        &self,
        kind: RoomKind,
        name: Option<RoomName>,
        owner: Option<AccountId>,
        members: Vec<AccountId>,
    ) -> Result<Vec<Draft>, Stop> {
        let key = self.rotation()?;
        let created = Event::Created { kind, site: self.keys.site().clone(), name, owner };
        Ok(alloc::vec![
            created.into(),
            Event::MembersAdded { accounts: members, history: History::All }.into(),
            key.into(),
        ])
    }

    pub(super) fn no_bots(&self, accounts: &[AccountId]) -> Result<(), Stop> {
        match accounts.iter().find(|account| self.profile(account).is_some_and(|profile| profile.bot)) {
            Some(bot) => Err(Refused::new(Reason::BotNotAllowed, alloc::format!("accounts: {bot} is a bot")).into()),
            None => Ok(()),
        }
    }

    pub(super) fn no_foreign_channel(&self) -> Result<(), Stop> {
        if self.request.foreign_channel {
            return Err(Refused::new(Reason::NotAMember, "channels: you are not in one of them").into());
        }
        Ok(())
    }

    /// Who comes along from the channels named: nobody who is shut out, and bots only where bots may come.
    pub(super) fn who_comes_along(&self, bots: bool) -> impl Iterator<Item = &AccountId> {
        self.request.from_channels.iter().filter(move |account| {
            self.profile(account).is_none_or(|profile| !profile.disabled && (bots || !profile.bot))
        })
    }

    pub(super) fn none_disabled(&self, accounts: &[AccountId]) -> Result<(), Stop> {
        match accounts.iter().find(|account| self.profile(account).is_some_and(|profile| profile.disabled)) {
            Some(disabled) => {
                Err(Refused::new(Reason::AccountDisabled, alloc::format!("accounts: {disabled} is disabled")).into())
            }
            None => Ok(()),
        }
    }

    pub(super) fn fits(&self, members: usize) -> Result<(), Stop> {
        let most = self.limits.room_members;
        if members > most as usize {
            let message = alloc::format!("the channel would have {members} members, the limit is {most}");
            return Err(Refused::new(Reason::RoomFull, message).into());
        }
        Ok(())
    }
}

/// Appends to `list` those of `more` that are not in `seen`, each once.
pub(super) fn extend_new<'a>(
    list: &mut Vec<AccountId>,
    mut seen: BTreeSet<&'a AccountId>,
    more: impl Iterator<Item = &'a AccountId>,
) {
    for account in more {
        if seen.insert(account) {
            list.push(account.clone());
        }
    }
}
