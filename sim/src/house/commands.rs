//! What the frames of a client begin once its connection stands: commands, prepared as `net` prepares them, and questions.

use std::collections::BTreeMap;

use chamberlain_core::codec;
use chamberlain_core::fanout::{Input, KindSet};
use chamberlain_core::id::{AccountId, RequestId, Revision, RoomId};
use chamberlain_core::keys::BodyKind;
use chamberlain_core::log::Record;
use chamberlain_core::room::{Command, Event as Happened, Outcome, Profile, Reason, Refused, Request};
use chamberlain_core::wire::{Answer as Said, ClientFrame, ServerFrame};

use super::link::framing;
use super::session::error_frame;
use super::{Answer, House, Op, Reply};
use crate::story::LinkId;

/// How much of a log is read at once.
const READ_BYTES: usize = 1024 * 1024;

pub(super) fn read_mark(room: RoomId, account: &AccountId) -> String {
    format!("read/{room}/{account}")
}

pub(super) fn count_mark(room: RoomId, account: &AccountId) -> String {
    format!("count/{room}/{account}")
}

impl House {
    /// Begins what a frame asks for.
    pub(super) fn begin_request(&mut self, node: usize, link: LinkId, bytes: &[u8]) {
        let Some(session) = self.nodes[node].sessions.get_mut(&link) else { return };
        let (codec, account) = (session.codec, session.account.clone());
        let frame = match codec.decode_client(bytes) {
            Ok(frame) => frame,
            Err(error) => return self.refuse(node, link, None, None, &Refused::new(Reason::Malformed, error.0)),
        };
        match frame {
            ClientFrame::Ping => {
                let frame = framing(codec, codec.encode(&ServerFrame::Pong));
                self.step(node, link, Input::Control { frame });
            }
            ClientFrame::Close { room } => {
                session.open.remove(&room);
                self.nodes[node].registry.unlisten(link, room);
                self.step(node, link, Input::Close { room });
            }
            ClientFrame::Hello(_) | ClientFrame::Refresh { .. } => {
                self.refuse(node, link, None, None, &Refused::new(Reason::Malformed, "hello was said already"));
            }
            ClientFrame::Watch { kinds } => match KindSet::parse(&kinds) {
                Ok(kinds) => {
                    let names: Vec<&'static str> = kinds.names().collect();
                    self.nodes[node].registry.watch(link, &names, kinds == KindSet::ALL);
                }
                Err(unknown) => {
                    self.refuse(node, link, None, None, &Refused::new(Reason::Malformed, unknown.to_string()));
                }
            },
            ClientFrame::Open(open) => self.open(node, link, open),
            ClientFrame::Command { id, command } => self.command(node, link, account, id, command),
            ClientFrame::Query { id, query } => {
                session.busy = true;
                self.query(node, account, query, move |house, result| {
                    let told = house.reply_input(node, link, id, None, result, None);
                    house.request_done(node, link, told);
                });
            }
        }
    }

    fn command(&mut self, node: usize, link: LinkId, account: AccountId, id: RequestId, command: Command) {
        let (now, room) = (self.instant(), command.room());
        let Some(session) = self.nodes[node].sessions.get_mut(&link) else { return };
        if !session.rate.take(now) {
            self.probe("rate limit met");
            return self.refuse(node, link, Some(id), room, &Reason::RateLimited.into());
        }
        session.busy = true;
        self.step(node, link, Input::Asked { request: id });
        let reply: Reply = Box::new(move |house, result| {
            // An answer follows the revision it tells of: the client sees its own message before it is told of it.
            let follows = match (&result, room) {
                (Ok(Outcome::Sent { revision, .. } | Outcome::Done { revision }), Some(room)) => {
                    Some((room, *revision))
                }
                _ => None,
            };
            if let Some(input) = house.reply_input(node, link, id, room, result.map(Said::Outcome), follows) {
                house.tell_socket(node, link, input);
            }
        });
        let queued = move |house: &mut Self| house.request_done(node, link, None);
        self.begin(node, account, id, command, queued, reply);
    }

    fn reply_input(
        &self,
        node: usize,
        link: LinkId,
        id: RequestId,
        room: Option<RoomId>,
        result: Result<Said, Refused>,
        follows: Option<(RoomId, Revision)>,
    ) -> Option<Input> {
        let codec = self.nodes[node].sessions.get(&link)?.codec;
        let frame = match result {
            Ok(answer) => ServerFrame::Ok { id, answer },
            Err(refused) => error_frame(Some(id), room, &refused),
        };
        Some(Input::Reply { request: Some(id), frame: framing(codec, codec.encode(&frame)), follows })
    }

    /// Hands a command in. `queued` is called when it stands in its room's queue; `reply` when it is durable, or refused.
    fn begin(
        &mut self,
        node: usize,
        who: AccountId,
        id: RequestId,
        command: Command,
        queued: impl FnOnce(&mut Self) + 'static,
        reply: Reply,
    ) {
        if self.nodes[node].draining {
            reply(self, Err(Reason::Draining.into()));
            return queued(self);
        }
        match command {
            Command::MarkRead { room, revision } => self.mark_read(node, who, room, revision, |house, result| {
                reply(house, result);
                queued(house);
            }),
            Command::DisableAccount { account } => self.disable(node, who, id, account, |house, result| {
                reply(house, result);
                queued(house);
            }),
            command => self.prepare(node, who, id, command, move |house, prepared| match prepared {
                Ok(request) => house.hand_in(node, request, queued, reply),
                Err(refused) => {
                    reply(house, Err(refused));
                    queued(house);
                }
            }),
        }
    }

    /// Resolves who the people are, who is in the channels named, and which room a creation is about.
    fn prepare(
        &mut self,
        node: usize,
        who: AccountId,
        id: RequestId,
        command: Command,
        then: impl FnOnce(&mut Self, Result<Box<Request>, Refused>) + 'static,
    ) {
        let keys = &self.story.keys;
        let room = match &command {
            Command::CreateDm { account } => keys.dm_id(&who, account),
            other => other.room().unwrap_or_else(|| keys.channel_id(&who, id)),
        };
        let fingerprint = keys.fingerprint(&codec::encode(&command));
        let (named, channels): (&[AccountId], &[RoomId]) = match &command {
            Command::CreateChannel { accounts, channels, .. } | Command::Add { accounts, channels, .. } => {
                (accounts, channels)
            }
            Command::Remove { accounts, .. } => (accounts, &[]),
            Command::CreateDm { account } | Command::SetRole { account, .. } => (std::slice::from_ref(account), &[]),
            _ => (&[], &[]),
        };
        let most = self.story.limits.accounts_per_command as usize;
        if named.len() > most || channels.len() > most {
            return then(self, Err(Reason::TooMany.into()));
        }
        let (mut wanted, channels) = (named.to_vec(), channels.to_vec());
        wanted.push(who.clone());
        self.members_of(node, who.clone(), channels, Vec::new(), move |house, members| {
            let (from_channels, foreign_channel) = match members {
                Ok(members) => members,
                Err(refused) => return then(house, Err(refused)),
            };
            wanted.extend(from_channels.iter().cloned());
            house.people(node, wanted, move |house, people| {
                let request = people.map(|people| {
                    let account = who;
                    Box::new(Request {
                        room,
                        account,
                        id,
                        fingerprint,
                        command,
                        from_channels,
                        foreign_channel,
                        people,
                    })
                });
                then(house, request);
            });
        });
    }

    /// The members of these channels, and whether the requester is missing from one of them.
    fn members_of(
        &mut self,
        node: usize,
        who: AccountId,
        mut channels: Vec<RoomId>,
        mut members: Vec<AccountId>,
        then: impl FnOnce(&mut Self, Result<(Vec<AccountId>, bool), Refused>) + 'static,
    ) {
        let Some(channel) = channels.pop() else { return then(self, Ok((members, false))) };
        let then: super::Then<Result<(Vec<AccountId>, bool), Refused>> = Box::new(then);
        self.room(node, channel, move |house, loaded| {
            if let Err(refused) = loaded {
                return then(house, Err(refused));
            }
            let Some(room) = house.room_at(node, channel) else { return then(house, Ok((Vec::new(), true))) };
            if !room.hub.state().is_member(&who) {
                return then(house, Ok((Vec::new(), true)));
            }
            members.extend(room.hub.state().members_after(None).map(|(account, _)| account.clone()));
            house.members_of(node, who, channels, members, then);
        });
    }

    /// Profiles of those of these accounts that exist. A node that is alone keeps what it read, as nobody else changes it.
    pub(super) fn people(
        &mut self,
        node: usize,
        wanted: Vec<AccountId>,
        then: impl FnOnce(&mut Self, Result<BTreeMap<AccountId, Profile>, Refused>) + 'static,
    ) {
        let alone = self.nodes.len() == 1;
        let known = &self.nodes[node].profiles;
        if alone && wanted.iter().all(|account| known.contains_key(account)) {
            let people = wanted.iter().filter_map(|account| Some((account.clone(), known.get(account)?.clone())));
            let people = people.collect();
            return then(self, Ok(people));
        }
        self.call(node, Op::People(wanted), move |house, told| match told {
            Ok(Answer::People(people)) => {
                if alone {
                    let fresh = people.iter().filter(|(account, _)| !house.nodes[node].shut.contains(*account));
                    let fresh: Vec<_> = fresh.map(|(account, profile)| (account.clone(), profile.clone())).collect();
                    house.nodes[node].profiles.extend(fresh);
                }
                then(house, Ok(people));
            }
            Ok(_) => then(house, Err(Reason::StoreUnavailable.into())),
            Err(failure) => then(house, Err(super::node::refusal(failure))),
        });
    }

    /// Shuts an account out: the directory first, so that nobody adds it again; then its connections; then every room it is in.
    fn disable(
        &mut self,
        node: usize,
        who: AccountId,
        id: RequestId,
        account: AccountId,
        then: impl FnOnce(&mut Self, Result<Outcome, Refused>) + 'static,
    ) {
        self.people(node, vec![who.clone(), account.clone()], move |house, people| {
            let people = match people {
                Ok(people) => people,
                Err(refused) => return then(house, Err(refused)),
            };
            if !people.get(&who).is_some_and(|profile| profile.admin && !profile.disabled) {
                return then(house, Err(Reason::NotAdmin.into()));
            }
            if !people.contains_key(&account) {
                return then(house, Err(Reason::UnknownAccount.into()));
            }
            house.call(node, Op::Disable(account.clone()), move |house, told| {
                if let Err(failure) = told {
                    return then(house, Err(super::node::refusal(failure)));
                }
                house.nodes[node].profiles.remove(&account);
                house.shut_out(node, &account);
                house.announce_shut(node, &account);
                let command = Command::DisableAccount { account: account.clone() };
                house.expel(node, who, id, command, account, |house, rooms| {
                    then(house, rooms.map(|rooms| Outcome::Disabled { rooms }));
                });
            });
        });
    }

    /// Removes a disabled account from every room that its log names.
    pub(super) fn expel(
        &mut self,
        node: usize,
        who: AccountId,
        id: RequestId,
        command: Command,
        account: AccountId,
        then: impl FnOnce(&mut Self, Result<u32, Refused>) + 'static,
    ) {
        self.refresh(
            node,
            account.clone(),
            Box::new(move |house, folded| {
                if let Err(failure) = folded {
                    return then(house, Err(super::node::refusal(failure)));
                }
                let rooms: Vec<RoomId> = house.account_state(node, &account).rooms().collect();
                let count = rooms.len() as u32;
                house.expel_from(
                    node,
                    who,
                    id,
                    command,
                    rooms,
                    Box::new(move |house, done| {
                        then(house, done.map(|()| count));
                    }),
                );
            }),
        );
    }

    fn expel_from(
        &mut self,
        node: usize,
        who: AccountId,
        id: RequestId,
        command: Command,
        mut rooms: Vec<RoomId>,
        then: super::Then<Result<(), Refused>>,
    ) {
        let Some(room) = rooms.pop() else { return then(self, Ok(())) };
        self.room(node, room, move |house, loaded| {
            if let Err(refused) = loaded {
                return then(house, Err(refused));
            }
            let members = house.room_at(node, room).map(|room| room.hub.state().members_after(None));
            let mut wanted: Vec<AccountId> =
                members.into_iter().flatten().map(|(account, _)| account.clone()).collect();
            wanted.push(who.clone());
            house.people(node, wanted, move |house, people| {
                let mut people = match people {
                    Ok(people) => people,
                    Err(refused) => return then(house, Err(refused)),
                };
                let name = who.as_str().to_owned();
                let unknown = || Profile { name, bot: false, disabled: false, admin: true };
                let requester = people.entry(who.clone()).or_insert_with(unknown);
                (requester.admin, requester.disabled) = (true, false);
                let request = Box::new(Request {
                    room,
                    account: who.clone(),
                    id,
                    fingerprint: house.story.keys.fingerprint(&codec::encode(&command)),
                    command: command.clone(),
                    from_channels: Vec::new(),
                    foreign_channel: false,
                    people,
                });
                let reply: Reply = Box::new(move |house, result| match result {
                    Ok(_) => house.expel_from(node, who, id, command, rooms, then),
                    Err(refused) => then(house, Err(refused)),
                });
                house.hand_in(node, request, |_| {}, reply);
            });
        });
    }

    /// Beside the log, never backwards: the revision, and how many messages lie up to there.
    fn mark_read(
        &mut self,
        node: usize,
        who: AccountId,
        id: RoomId,
        revision: Revision,
        then: impl FnOnce(&mut Self, Result<Outcome, Refused>) + 'static,
    ) {
        self.room(node, id, move |house, loaded| {
            if let Err(refused) = loaded {
                return then(house, Err(refused));
            }
            let Some(room) = house.room_at(node, id) else { return then(house, Err(Reason::StoreUnavailable.into())) };
            let state = room.hub.state();
            if !state.is_member(&who) {
                return then(house, Err(Reason::NotAMember.into()));
            }
            if revision > state.head().revision {
                return then(house, Err(Reason::BeyondHead.into()));
            }
            let op = Op::Read { log: Self::log_of(id), after: Revision::ZERO, bytes: READ_BYTES };
            house.call(node, op, move |house, told| {
                let stored = match told {
                    Ok(Answer::Records(stored)) => stored,
                    _ => return then(house, Err(Reason::StoreUnavailable.into())),
                };
                let up_to = stored.iter().rev().filter(|stored| stored.first <= revision);
                let count =
                    up_to.filter_map(|stored| Record::<Happened>::decode(&stored.bytes).ok()).find_map(|record| {
                        let before = record.items().filter(|item| item.revision <= revision);
                        before.filter_map(|item| ordinal(item.event)).last()
                    });
                let marks = vec![(read_mark(id, &who), revision.0), (count_mark(id, &who), count.unwrap_or(0))];
                house.call(node, Op::Raise(marks), move |house, told| {
                    if let Err(failure) = told {
                        return then(house, Err(super::node::refusal(failure)));
                    }
                    house.call(node, Op::Marks(vec![read_mark(id, &who)]), move |house, told| {
                        // Where it stands now: another device may have read further.
                        let stands = match told {
                            Ok(Answer::Numbers(stands)) => stands.first().copied().unwrap_or(0),
                            _ => return then(house, Err(Reason::StoreUnavailable.into())),
                        };
                        then(house, Ok(Outcome::Marked { revision: Revision(stands).max(revision) }));
                    });
                });
            });
        });
    }
}

fn ordinal(event: &Happened) -> Option<u64> {
    match event {
        Happened::Message { kind: BodyKind::Message, ordinal, .. } => Some(*ordinal),
        _ => None,
    }
}
