//! What follows from a room's records outside of it: its members' account logs, and the erasure of bodies taken back.
//!
//! Derived from the records by a durable cursor per room, `effects/ROOM`, as `net` does: at least once, by whichever node,
//! each with its result once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chamberlain_core::account::AccountChange;
use chamberlain_core::id::{AccountId, LogId, Revision, RoomId};
use chamberlain_core::log::Record;
use chamberlain_core::retry::Failure;
use chamberlain_core::room::{Command, Event as Happened, RoomKind};

use super::{Answer, House, Op};
use crate::tape::Actor;

/// How much is read at once.
const READ_BYTES: usize = 4 * 1024 * 1024;
/// First and longest wait after a failure, in microseconds.
const WAIT: (u64, u64) = (20_000, 5_000_000);
/// Wait before somebody who is shut out is looked for again, and how often.
const EXPEL: (u64, u32) = (1_000_000, 60);

/// Rooms that have records whose effects are not done yet.
#[derive(Default)]
pub(super) struct Effects {
    waiting: BTreeSet<RoomId>,
    busy: BTreeMap<RoomId, Work>,
    /// How far each room's effects are done, of rooms seen since the node began.
    cursors: BTreeMap<RoomId, Revision>,
}

/// The effects of one room, being carried out.
#[derive(Default)]
struct Work {
    todo: VecDeque<Deed>,
    tries: u32,
}

/// One thing to be done.
#[derive(Debug, Clone)]
enum Deed {
    Change(AccountId, AccountChange),
    Expel(AccountId),
    Erase(Revision),
    /// Everything up to here is done; written down where anything was.
    Passed(Revision, bool),
}

impl Effects {
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.busy.is_empty()
    }

    pub(super) fn is_busy(&self, room: RoomId) -> bool {
        self.busy.contains_key(&room)
    }
}

/// The name of the mark that holds a room's cursor.
pub(super) fn cursor_mark(room: RoomId) -> String {
    format!("effects/{room}")
}

impl House {
    /// What an earlier run left unfinished: effects behind their rooms, and disabled accounts still in rooms.
    pub(super) fn resume_effects(&mut self, node: usize) {
        self.call(node, Op::List, move |house, told| {
            let Ok(Answer::Logs(logs)) = told else {
                return house.resume_in(node, WAIT.0 * 50, move |house| house.resume_effects(node));
            };
            for (log, head) in logs {
                let Some(room) = super::room::room_of(&log) else { continue };
                house.call(node, Op::Marks(vec![cursor_mark(room)]), move |house, told| match told {
                    Ok(Answer::Numbers(marks)) if marks.first() == Some(&head.0) => {}
                    _ => {
                        house.probe("effects resumed at start");
                        house.push_effects(node, room);
                    }
                });
            }
        });
        self.call(node, Op::Disabled, move |house, told| {
            let Ok(Answer::People(people)) = told else { return };
            for account in people.into_keys() {
                house.expel_later(node, account, EXPEL.1);
            }
        });
    }

    pub(super) fn push_effects(&mut self, node: usize, room: RoomId) {
        let effects = &mut self.nodes[node].effects;
        if effects.busy.contains_key(&room) {
            effects.waiting.insert(room);
            return;
        }
        effects.busy.insert(room, Work::default());
        self.resume_in(node, 0, move |house| house.carry_out_effects(node, room));
    }

    /// Reads on from the cursor.
    fn carry_out_effects(&mut self, node: usize, room: RoomId) {
        let Some(cursor) = self.nodes[node].effects.cursors.get(&room).copied() else {
            return self.call(node, Op::Marks(vec![cursor_mark(room)]), move |house, told| match told {
                Ok(Answer::Numbers(marks)) => {
                    let mark = Revision(marks.first().copied().unwrap_or(0));
                    house.nodes[node].effects.cursors.insert(room, mark);
                    house.carry_out_effects(node, room);
                }
                _ => house.effects_again(node, room),
            });
        };
        let op = Op::Read { log: LogId::Room(room), after: cursor, bytes: READ_BYTES };
        self.call(node, op, move |house, told| {
            let Ok(Answer::Records(stored)) = told else { return house.effects_again(node, room) };
            if stored.is_empty() {
                return house.effects_done(node, room);
            }
            let records: Result<Vec<Record<Happened>>, _> =
                stored.iter().map(|stored| Record::decode(&stored.bytes)).collect();
            let Ok(records) = records else { return };
            let joins = |record: &Record<Happened>| {
                record.items().any(|item| matches!(item.event, Happened::MembersAdded { .. }))
            };
            if !records.iter().any(joins) {
                house.plan_effects(node, room, cursor, &records);
                return house.next_effect(node, room);
            }
            // Who joins is told what the room is: it is folded first, and at least as far as that.
            let last = records.last().map_or(cursor, Record::last);
            house.room(node, room, move |house, loaded| {
                if loaded.is_err() {
                    return house.effects_again(node, room);
                }
                if house.room_at(node, room).is_some_and(|room| room.hub.state().head().revision < last) {
                    return house.catch_up(node, room, move |house, read| match read {
                        true => house.carry_out_effects(node, room),
                        false => house.effects_again(node, room),
                    });
                }
                house.plan_effects(node, room, cursor, &records);
                house.next_effect(node, room);
            });
        });
    }

    fn plan_effects(&mut self, node: usize, room: RoomId, cursor: Revision, records: &[Record<Happened>]) {
        let mut todo = VecDeque::new();
        for record in records {
            let before = todo.len();
            for item in record.items().filter(|item| item.revision > cursor) {
                match item.event {
                    Happened::MembersAdded { accounts, .. } => {
                        for account in accounts {
                            let change = self.joined(node, room, account, item.revision);
                            todo.push_back(Deed::Change(account.clone(), change));
                        }
                        todo.extend(accounts.iter().cloned().map(Deed::Expel));
                    }
                    Happened::MembersRemoved { accounts } => {
                        let left = AccountChange::Left { room, at: item.revision };
                        todo.extend(accounts.iter().map(|account| Deed::Change(account.clone(), left.clone())));
                    }
                    Happened::Deleted { revision } => {
                        todo.push_back(Deed::Erase(*revision));
                        todo.extend(self.edits_before(room, *revision, item.revision).into_iter().map(Deed::Erase));
                    }
                    _ => {}
                }
            }
            let any = todo.len() > before;
            todo.push_back(Deed::Passed(record.last(), any));
        }
        if let Some(work) = self.nodes[node].effects.busy.get_mut(&room) {
            work.todo = todo;
        }
    }

    /// The edits of a message that came before its deletion, as the log has them.
    fn edits_before(&self, room: RoomId, message: Revision, deletion: Revision) -> Vec<Revision> {
        let Some(log) = self.stores.logs.get(&LogId::Room(room)) else { return Vec::new() };
        let stored = log.records.iter().filter(|stored| stored.last > message && stored.first < deletion);
        let records = stored.filter_map(|stored| Record::<Happened>::decode(&stored.bytes).ok());
        let mut edits = Vec::new();
        for record in records {
            edits.extend(record.items().filter(|item| item.revision < deletion).filter_map(|item| match item.event {
                Happened::Edited { revision, .. } if *revision == message => Some(item.revision),
                _ => None,
            }));
        }
        edits
    }

    fn joined(&mut self, node: usize, room: RoomId, account: &AccountId, at: Revision) -> AccountChange {
        let state = self.room_at(node, room).map(|room| room.hub.state());
        let kind = state.and_then(|state| state.kind()).unwrap_or(RoomKind::Channel);
        let counterpart = state.and_then(|state| state.counterpart(account)).cloned();
        let name = state.and_then(|state| state.name()).cloned();
        AccountChange::Joined { room, at, kind, name, counterpart }
    }

    fn next_effect(&mut self, node: usize, room: RoomId) {
        let Some(work) = self.nodes[node].effects.busy.get(&room) else { return };
        let Some(deed) = work.todo.front().cloned() else { return self.carry_out_effects(node, room) };
        match deed {
            Deed::Change(account, change) => self.record_change(
                node,
                account,
                change,
                Box::new(move |house, done| house.effect_done(node, room, done)),
            ),
            Deed::Expel(account) => {
                let op = Op::People(vec![account.clone()]);
                self.call(node, op, move |house, told| {
                    if let Ok(Answer::People(people)) = told
                        && people.get(&account).is_some_and(|profile| profile.disabled)
                    {
                        house.expel_later(node, account, EXPEL.1);
                    }
                    house.effect_done(node, room, Ok(()));
                });
            }
            Deed::Erase(revision) => {
                let op = Op::Erase { log: LogId::Room(room), revision };
                self.call(node, op, move |house, told| house.effect_done(node, room, told.map(|_| ())));
            }
            Deed::Passed(revision, false) => {
                self.nodes[node].effects.cursors.insert(room, revision);
                self.effect_done(node, room, Ok(()));
            }
            Deed::Passed(revision, true) => {
                let op = Op::Raise(vec![(cursor_mark(room), revision.0)]);
                self.call(node, op, move |house, told| {
                    if told.is_ok() {
                        house.nodes[node].effects.cursors.insert(room, revision);
                    }
                    house.effect_done(node, room, told.map(|_| ()));
                });
            }
        }
    }

    fn effect_done(&mut self, node: usize, room: RoomId, done: Result<(), Failure>) {
        match done {
            Ok(()) => {
                if let Some(work) = self.nodes[node].effects.busy.get_mut(&room) {
                    work.todo.pop_front();
                }
                self.next_effect(node, room);
            }
            Err(_) => self.effects_again(node, room),
        }
    }

    fn effects_again(&mut self, node: usize, room: RoomId) {
        let Some(work) = self.nodes[node].effects.busy.get_mut(&room) else { return };
        work.todo.clear();
        let full = (WAIT.0 << work.tries.min(16)).min(WAIT.1);
        work.tries += 1;
        let jitter = self.tape.draw(Actor::nth("node", node as u32), "effects-wait", full / 2);
        self.resume_in(node, full / 2 + jitter, move |house| house.carry_out_effects(node, room));
    }

    fn effects_done(&mut self, node: usize, room: RoomId) {
        let effects = &mut self.nodes[node].effects;
        effects.busy.remove(&room);
        if effects.waiting.remove(&room) {
            self.push_effects(node, room);
        }
    }

    /// Writes down how far every room's effects are done, so that the next start need not look.
    pub(super) fn write_cursors(&mut self, node: usize) {
        let cursors = self.nodes[node].effects.cursors.iter();
        let marks: Vec<(String, u64)> = cursors.map(|(room, cursor)| (cursor_mark(*room), cursor.0)).collect();
        self.call(node, Op::Raise(marks), |_, _| {});
    }

    /// Removes a disabled account from its rooms, in its own name, trying until it succeeds.
    pub(super) fn expel_later(&mut self, node: usize, account: AccountId, tries: u32) {
        let id = chamberlain_core::id::RequestId::from_random(self.fresh()[..16].try_into().expect("sixteen bytes"));
        let command = Command::DisableAccount { account: account.clone() };
        let who = account.clone();
        self.expel(node, who, id, command, account.clone(), move |house, result| {
            if result.is_err() && tries > 0 {
                house.resume_in(node, EXPEL.0, move |house| house.expel_later(node, account, tries - 1));
            }
        });
    }
}
