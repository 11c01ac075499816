//! What a decision must know that is not in its room: who the people are, who is in the channels named, which room a
//! creation is about.

use std::collections::BTreeMap;
use std::sync::Arc;

use chamberlain_core::codec;
use chamberlain_core::id::{AccountId, RequestId, RoomId};
use chamberlain_core::room::{Command, Profile, Reason, Refused, Request, display_name};
use chamberlain_stores::Account;

use super::Inner;
use crate::auth::Identity;

impl Inner {
    /// Resolves a command that goes to a room's sequencer.
    pub(super) async fn prepare(
        self: &Arc<Self>,
        who: &Identity,
        id: RequestId,
        command: Command,
    ) -> Result<Box<Request>, Refused> {
        let keys = &self.settings.keys;
        let room = match &command {
            Command::CreateDm { account } => keys.dm_id(&who.account, account),
            other => other.room().unwrap_or_else(|| keys.channel_id(&who.account, id)),
        };
        let (named, channels): (&[AccountId], &[RoomId]) = match &command {
            Command::CreateChannel { accounts, channels, .. } | Command::Add { accounts, channels, .. } => {
                (accounts, channels)
            }
            Command::Remove { accounts, .. } => (accounts, &[]),
            Command::CreateDm { account } | Command::SetRole { account, .. } => (std::slice::from_ref(account), &[]),
            _ => (&[], &[]),
        };
        let most = self.settings.limits.accounts_per_command as usize;
        if named.len() > most || channels.len() > most {
            let message = format!("accounts: {} are named, the limit is {most}", named.len().max(channels.len()));
            return Err(Refused::new(Reason::TooMany, message));
        }
        let (from_channels, foreign_channel) = self.members_of(&who.account, channels).await?;
        let mut wanted = named.to_vec();
        wanted.extend(from_channels.iter().cloned());
        wanted.push(who.account.clone());
        let people = self.people(who, &wanted).await?;
        Ok(Box::new(Request {
            room,
            account: who.account.clone(),
            id,
            fingerprint: keys.fingerprint(&codec::encode(&command)),
            command,
            from_channels,
            foreign_channel,
            people,
        }))
    }

    /// The members of these channels, and whether the requester is missing from one of them.
    async fn members_of(
        self: &Arc<Self>,
        requester: &AccountId,
        channels: &[RoomId],
    ) -> Result<(Vec<AccountId>, bool), Refused> {
        let mut members = Vec::new();
        for channel in channels {
            let room = self.room_for(requester, *channel).await?;
            let hub = room.hub.lock();
            if !hub.state().is_member(requester) {
                return Ok((Vec::new(), true));
            }
            members.extend(hub.state().members_after(None).map(|(account, _)| account.clone()));
            if members.len() > self.settings.limits.room_members as usize {
                return Err(Refused::new(
                    Reason::RoomFull,
                    "channels: together they have more members than a channel may",
                ));
            }
        }
        Ok((members, false))
    }

    /// Profiles of those of these accounts that exist. The requester's token may make it an administrator.
    pub(super) async fn people(
        &self,
        who: &Identity,
        accounts: &[AccountId],
    ) -> Result<BTreeMap<AccountId, Profile>, Refused> {
        let entries = self.directory(accounts).await?;
        Ok(entries
            .into_iter()
            .map(|(account, entry)| {
                let mut profile = profile(&entry);
                profile.admin |= account == who.account && who.admin;
                (account, profile)
            })
            .collect())
    }

    /// Shuts an account out: the directory first, so that nobody adds it again; then its connections; then every room it is
    /// in. Asked again with the same request id, it goes on where it stopped.
    pub(super) async fn disable(
        self: &Arc<Self>,
        who: &Identity,
        id: RequestId,
        account: &AccountId,
    ) -> Result<chamberlain_core::room::Outcome, Refused> {
        let requester = self.account(&who.account).await?;
        if !who.admin && !requester.is_some_and(|entry| entry.admin && !entry.disabled) {
            return Err(Reason::NotAdmin.into());
        }
        let mut entry = self.account(account).await?.ok_or(Reason::UnknownAccount)?;
        if !entry.disabled {
            entry.disabled = true;
            self.put_accounts(std::slice::from_ref(&entry)).await?;
        }
        self.sockets.shut_out(account);
        let rooms = self.expel(who, id, account).await?;
        Ok(chamberlain_core::room::Outcome::Disabled { rooms })
    }

    /// Removes a disabled account from every room that its log names.
    pub(super) async fn expel(
        self: &Arc<Self>,
        who: &Identity,
        id: RequestId,
        account: &AccountId,
    ) -> Result<u32, Refused> {
        let (rooms, _) = self.rooms_of(account).await?;
        for room_id in &rooms {
            let room = self.room(*room_id).await?;
            let mut wanted: Vec<AccountId> =
                room.hub.lock().state().members_after(None).map(|(member, _)| member.clone()).collect();
            wanted.push(who.account.clone());
            let mut people = self.people(who, &wanted).await?;
            let requester = people.entry(who.account.clone()).or_insert_with(|| Profile {
                name: who.account.as_str().to_owned(),
                bot: false,
                disabled: false,
                admin: true,
            });
            (requester.admin, requester.disabled) = (true, false);
            let command = Command::DisableAccount { account: account.clone() };
            let request = Box::new(Request {
                room: *room_id,
                account: who.account.clone(),
                id,
                fingerprint: self.settings.keys.fingerprint(&codec::encode(&command)),
                command,
                from_channels: Vec::new(),
                foreign_channel: false,
                people,
            });
            let (answer, answered) = tokio::sync::oneshot::channel();
            room.submit(
                request,
                Box::new(move |result| {
                    let _gone = answer.send(result);
                }),
            );
            answered.await.unwrap_or_else(|_| Err(Reason::Deadline.into()))?;
        }
        Ok(rooms.len() as u32)
    }
}

fn profile(entry: &Account) -> Profile {
    Profile {
        name: display_name(&entry.account, &entry.name, entry.local_name.as_deref()),
        bot: entry.bot,
        disabled: entry.disabled,
        admin: entry.admin,
    }
}
