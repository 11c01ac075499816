//! A room that lost something goes on because an operator says so, who was told what is lost (RACES.md, N-14, K-19, K-22).
//!
//! What is told names the head of the log, and only a decision about that very head is carried out. The record is appended
//! under the condition that the log ends there; its key is in the vault before, under a version above any that the log, the vault, a
//! snapshot or a node's memory ever saw.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chamberlain_core::id::{AccountId, KeyVersion, LogId, Revision, RoomId};
use chamberlain_core::keys::RoomSecret;
use chamberlain_core::log::{Head, Record};
use chamberlain_core::retry::Failure;
use chamberlain_core::room::{Event, Fold, GoingOn, Reason, Refused, RoomKind, RoomState};
use chamberlain_stores::{Appended, PutSecret, Snapshot, StoreError};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::Serialize;

use super::admin::LogItem;
use super::load;
use super::mark::read_mark;
use super::{Inner, Node, refuse_store};
use crate::auth::Identity;

/// How long other nodes are given to say what they remember, and to give it back.
const ASKED: Duration = Duration::from_millis(1_500);
/// Revisions of what is lost that are told one by one.
const TOLD_MOST: usize = 1_000;
/// Versions of the vault that are looked at together.
const VERSIONS_AT_ONCE: u32 = 64;
/// Versions beyond the log's that the vault may hold, at most.
const VERSIONS_MOST: u32 = 2_048;
/// Members whose account logs are read at the same time.
const MEMBERS_AT_ONCE: usize = 64;
/// Read marks that are read together.
const MARKS_AT_ONCE: usize = 1_000;

/// What a room lost, as far as anything remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// The room.
    pub room: RoomId,
    /// Where its log ends, by revision and digest: what a decision must name.
    pub head: String,
    /// That revision.
    pub ended: Revision,
    /// Up to where anything remembers it: what is between the two is lost.
    pub known: Revision,
    /// Up to where its effects were done.
    pub effects: Revision,
    /// Up to where its last snapshot goes.
    pub snapshot: Revision,
    /// Up to where nodes that live remember it.
    pub nodes: Revision,
    /// Up to where any of its members has read.
    pub read: Revision,
    /// What this node remembers of what is lost, without bodies; the last of it.
    pub lost: Vec<LogItem>,
    /// Members by the log, of whom something remembers that they were removed later: they are removed again.
    pub out: Vec<AccountId>,
    /// Key versions whose secrets the vault does not hold: what is sealed under them stays unreadable.
    pub unreadable: Vec<KeyVersion>,
    /// The key version that the room would go on with, at least.
    pub version: KeyVersion,
    /// Nodes of older versions, which could not read the room if it went on.
    pub older_nodes: Vec<String>,
    /// Whether there is anything to decide about.
    pub lossy: bool,
    /// Where the room goes on, if it was decided.
    pub continued: Option<Revision>,
}

/// The log as it is, and what was known of it.
struct Remains {
    fold: Box<Fold>,
    loss: Loss,
}

impl Node {
    /// What a room lost; with the head that was told, the room goes on from there.
    pub async fn continue_room(&self, who: &Identity, room: RoomId, head: Option<String>) -> Result<Loss, Refused> {
        let remains = self.0.remains_of(room).await?;
        let Some(head) = head else { return Ok(remains.loss) };
        self.0.go_on(who, remains, &head).await
    }
}

impl Inner {
    async fn remains_of(self: &Arc<Self>, id: RoomId) -> Result<Remains, Refused> {
        let mut remains = self.remains_now(id).await?;
        // Others may remember more, and may hold what is lost.
        if remains.loss.known > remains.loss.ended && self.colleagues.is_some() {
            self.tell_of_loss(id, remains.loss.known);
            tokio::time::sleep(ASKED).await;
            remains = self.remains_now(id).await?;
        }
        Ok(remains)
    }

    async fn remains_now(self: &Arc<Self>, id: RoomId) -> Result<Remains, Refused> {
        let log = LogId::Room(id);
        let remembered = self.settings.limits.remembered_requests;
        let fold = load::as_it_is(&self.stores, id, remembered).await.map_err(refuse)?;
        let (state, head) = (&fold.state, fold.state.head());
        if state.kind().is_none() {
            let message = format!("room: the log of {id} holds nothing to go on from");
            return Err(Refused::new(Reason::NotAMember, message));
        }
        let given_up = state.continued().map_or(Revision::ZERO, |continued| continued.known);
        let marks = self.stores.marks.get(&[super::effects::cursor_mark(id)]).await.map_err(refuse_store)?;
        let effects = Revision(marks.first().copied().unwrap_or(0));
        // What an operator gave up before is remembered no more.
        let snapshot = self.stores.snapshots.latest(&log).await.map_err(refuse_store)?;
        let snapshot = snapshot.and_then(|snapshot| Fold::from_snapshot(&snapshot.bytes).ok());
        let snapshot = snapshot.filter(|fold| fold.state.head().revision > given_up);
        let room = self.loaded(id);
        let memory = room.as_ref().map(|room| room.hub.lock().state().clone());
        let memory = memory.filter(|state| state.head().revision > given_up);
        let told = room.as_ref().map_or(0, |room| room.once_at.load(std::sync::atomic::Ordering::Acquire));
        let told = Revision(told).max(self.following.once_at(id));
        let nodes = memory.as_ref().map_or(Revision::ZERO, |state| state.head().revision).max(told);
        let read = self.read_up_to(state).await?;
        let snapped = snapshot.as_ref().map_or(Revision::ZERO, |fold| fold.state.head().revision);
        let known = [head.revision, effects, snapped, nodes, read].into_iter().max().unwrap_or_default();
        let beside = |state: &RoomState| state.head().revision == head.revision && state.head() != head;
        // What stopped it here is remembered here, even where the log has grown past it.
        let stopped = memory.is_some() && room.as_ref().is_some_and(|room| room.is_quarantined());
        let forked =
            stopped || memory.as_ref().is_some_and(beside) || snapshot.as_ref().is_some_and(|fold| beside(&fold.state));

        // Where the room went, as far as it is remembered.
        let branches = memory.iter().chain(snapshot.iter().map(|fold| &fold.state));
        let branch = branches.filter(|state| state.head().revision > head.revision || beside(state));
        let branch = branch.max_by_key(|state| state.head().revision);
        let unreadable = self.lost_versions(state).await?;
        let given_up_keys = unreadable.iter().all(|version| state.may_be_lost(*version));
        let lossy = known > head.revision || forked || !given_up_keys;
        let out = if lossy { self.who_is_out(state, branch).await? } else { Vec::new() };
        let from = branch.map_or(state.next_version(), |branch| branch.next_version().max(state.next_version()));
        let needed = Event::Continued { ended: head.revision, known, version: from }.kinds_needed();
        let loss = Loss {
            room: id,
            head: name(head),
            ended: head.revision,
            known,
            effects,
            snapshot: snapped,
            nodes,
            read,
            lost: self.remembered(id, head),
            out,
            unreadable,
            version: self.unused_version(id, from).await?,
            older_nodes: self.colleagues.as_ref().map(|others| others.older_than(needed)).unwrap_or_default(),
            lossy,
            continued: None,
        };
        Ok(Remains { fold, loss })
    }

    /// Up to where any member has read.
    async fn read_up_to(&self, state: &RoomState) -> Result<Revision, Refused> {
        let names: Vec<String> =
            state.members_after(None).map(|(account, _)| read_mark(state.room(), account)).collect();
        let mut most = 0;
        for some in names.chunks(MARKS_AT_ONCE) {
            let marks = self.stores.marks.get(some).await.map_err(refuse_store)?;
            most = marks.into_iter().fold(most, u64::max);
        }
        Ok(Revision(most))
    }

    /// Versions of the log whose secret the vault does not hold, or another one than the log names.
    async fn lost_versions(&self, state: &RoomState) -> Result<Vec<KeyVersion>, Refused> {
        let versions: Vec<KeyVersion> = (0..state.next_version().0).map(KeyVersion).collect();
        let mut lost = Vec::new();
        for some in versions.chunks(VERSIONS_AT_ONCE as usize) {
            let secrets = self.stores.vault.get_many(state.room(), some).await.map_err(refuse_store)?;
            for (version, secret) in some.iter().zip(secrets) {
                if let Some(public) = state.public(*version)
                    && secret.is_none_or(|secret| secret.public() != public)
                {
                    lost.push(*version);
                }
            }
        }
        Ok(lost)
    }

    /// The first version from `from` on after which the vault holds none.
    async fn unused_version(&self, room: RoomId, from: KeyVersion) -> Result<KeyVersion, Refused> {
        let (mut unused, mut at) = (from, from.0);
        while at < from.0.saturating_add(VERSIONS_MOST) {
            let some: Vec<KeyVersion> = (at..at.saturating_add(VERSIONS_AT_ONCE)).map(KeyVersion).collect();
            let secrets = self.stores.vault.get_many(room, &some).await.map_err(refuse_store)?;
            let mut held = some.iter().zip(secrets).filter(|(_, secret)| secret.is_some()).map(|(version, _)| *version);
            let Some(last) = held.next_back() else { break };
            unused = KeyVersion(last.0 + 1);
            at += VERSIONS_AT_ONCE;
        }
        Ok(unused)
    }

    /// A secret that nobody was ever given, under the first version from `from` on that was never used: one with a tombstone was.
    async fn fresh_key(&self, room: RoomId, from: KeyVersion) -> Result<(KeyVersion, RoomSecret), Refused> {
        let mut rng = crate::entropy::rng();
        let mut version = self.unused_version(room, from).await?;
        for _ in 0..VERSIONS_MOST {
            let secret = RoomSecret::generate(&mut rng);
            match self.stores.vault.put_if_absent(room, version, &secret).await.map_err(refuse_store)? {
                PutSecret::Winner(winner) if winner.public() == secret.public() => return Ok((version, secret)),
                PutSecret::Winner(_) | PutSecret::Destroyed => version = version.next(),
            }
        }
        Err(Refused::new(Reason::Quarantined, "the vault holds a key under every version that was tried"))
    }

    /// What this node remembers of what followed a head.
    fn remembered(&self, id: RoomId, head: Head) -> Vec<LogItem> {
        let stored = self.loaded(id).and_then(|room| room.suffix.lock().after(head)).unwrap_or_default();
        let records = stored.iter().filter_map(|stored| Record::<Event>::decode(&stored.bytes.bytes).ok());
        let mut items: Vec<LogItem> =
            records.flat_map(|record| record.items().map(|item| LogItem::of(&item)).collect::<Vec<_>>()).collect();
        items.drain(..items.len().saturating_sub(TOLD_MOST));
        items
    }

    /// Members by the log of whom the branch that was lost, or their own logs, say that they left after it ended. A channel keeps
    /// an owner.
    async fn who_is_out(
        self: &Arc<Self>,
        state: &RoomState,
        branch: Option<&RoomState>,
    ) -> Result<Vec<AccountId>, Refused> {
        let (id, ended) = (state.room(), state.head().revision);
        let members: Vec<AccountId> = state.members_after(None).map(|(account, _)| account.clone()).collect();
        let left = stream::iter(members).map(|account| async move {
            let left = self.told_until(&account, id).await?;
            Ok::<_, Refused>((account, left))
        });
        let left: Vec<(AccountId, Revision)> = left.buffer_unordered(MEMBERS_AT_ONCE).try_collect().await?;
        let is_out = |(account, left): &(AccountId, Revision)| {
            let member = branch.map(|branch| branch.member(account));
            let left_later = *left > ended && left.0 < u64::MAX;
            match member {
                Some(None) => true,
                Some(Some(member)) => left_later && member.since < *left,
                None => left_later,
            }
        };
        let mut out: BTreeSet<AccountId> = left.into_iter().filter(is_out).map(|(account, _)| account).collect();
        let owns = |account: &AccountId| {
            state.member(account).is_some_and(|member| member.role == chamberlain_core::room::Role::Owner)
        };
        if state.kind() == Some(RoomKind::Channel)
            && out.iter().filter(|account| owns(account)).count() as u32 == state.owner_count()
        {
            out.retain(|account| !owns(account));
        }
        Ok(out.into_iter().collect())
    }

    async fn go_on(self: &Arc<Self>, who: &Identity, remains: Remains, head: &str) -> Result<Loss, Refused> {
        let Remains { mut fold, mut loss } = remains;
        if head != loss.head {
            let message = format!("head: the log ends at {} now; ask again what is lost", loss.head);
            return Err(Refused::new(Reason::Overtaken, message));
        }
        if !loss.lossy {
            return Err(Reason::NothingLost.into());
        }
        if !loss.older_nodes.is_empty() {
            let message =
                format!("these nodes could not read the room: {}; update them first", loss.older_nodes.join(", "));
            return Err(Refused::new(Reason::OlderNode, message));
        }
        let decision = GoingOn {
            by: who.account.clone(),
            time: self.clock.wall(),
            ended: loss.ended,
            known: loss.known,
            out: loss.out.clone(),
        };
        let mut from = loss.version;
        loop {
            let (version, secret) = self.fresh_key(loss.room, from).await?;
            let (record, last) = decision.record(&fold.state, version, secret.public());
            self.append_decision(&mut fold, &record).await?;
            (loss.version, from) = (version, version.next());
            if last {
                break;
            }
        }
        let at = fold.state.head().revision;
        tracing::warn!(
            room = %loss.room, by = %who.account, ended = %loss.ended, known = %loss.known, %at, version = %loss.version,
            "the room goes on after a loss"
        );
        // What other snapshots say is of another log.
        let snapshot = Snapshot { revision: at, bytes: fold.to_snapshot().into() };
        if let Err(error) = self.stores.snapshots.put(&LogId::Room(loss.room), snapshot).await {
            tracing::warn!(room = %loss.room, %error, "no snapshot; the room is folded from its first record");
        }
        self.tell_of_loss(loss.room, at);
        if let Some(room) = self.loaded(loss.room) {
            self.begin_again(&room).await;
        }
        self.effects.push(loss.room);
        loss.continued = Some(at);
        Ok(loss)
    }

    async fn append_decision(&self, fold: &mut Fold, record: &Record<Event>) -> Result<(), Refused> {
        let defect = || Refused::new(Reason::Defect, "a decision that does not follow the log");
        let (log, before) = (LogId::Room(fold.state.room()), fold.state.head());
        let after = record.extend(before).ok_or_else(defect)?;
        // Tried on the fold first: nothing is written that contradicts.
        fold.apply(record, after).map_err(|_| defect())?;
        let moved = || Refused::new(Reason::Overtaken, "somebody else wrote to the log; ask again what is lost");
        match self.stores.logs.append(&log, before, record.encode(), after).await {
            Ok(Appended::Done(_)) => Ok(()),
            Ok(Appended::Conflict(conflict)) if conflict.head == after => Ok(()),
            Ok(Appended::Conflict(_)) => Err(moved()),
            Err(StoreError::Unknown(_)) => match self.stores.logs.head(&log).await {
                Ok(head) if head == after => Ok(()),
                Ok(_) | Err(_) => Err(moved()),
            },
            Err(error) => Err(refuse_store(error)),
        }
    }
}

/// What a decision names.
fn name(head: Head) -> String {
    format!("{}-{}", head.revision, &head.digest.to_string()[..16])
}

fn refuse(failure: Failure) -> Refused {
    match failure {
        Failure::Permanent => {
            Refused::new(Reason::Quarantined, "the log cannot be read: its records contradict each other")
        }
        Failure::Newer => Reason::NewerLog.into(),
        Failure::Transient | Failure::Unknown => Reason::StoreUnavailable.into(),
    }
}
