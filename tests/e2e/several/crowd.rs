//! People who talk at any node that takes them, come back when it is gone, and ask again what was not answered, with the same
//! request id. In the end every answer is held against what is there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chamberlain_core::id::{MessageId, RequestId, Revision, RoomId};
use chamberlain_core::keys::BodyKind;
use chamberlain_core::room::{Code, Command, Content, Event, Outcome, Submit};
use chamberlain_core::wire::{Answer, ClientFrame, Codec, ResetWhy};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::harness::{Client, account, fresh, message_id, request_id, sealed_text};

/// People in one room, the auditor aside. The first one begins it.
pub(super) const A_ROOM: usize = 4;
/// After so long without an answer, a connection is believed to be dead.
const DEAD: Duration = Duration::from_secs(13);
/// What was answered `unavailable` is asked again after this.
const AGAIN: Duration = Duration::from_millis(300);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Rooms are being filled; who is there listens.
    Gather,
    Talk,
    Finish,
}

/// What everybody looks at.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) nodes: Vec<SocketAddr>,
    pub(super) phase: watch::Receiver<Phase>,
    /// Milliseconds of the longest wait for an answer, since somebody last looked.
    pub(super) longest: Arc<AtomicU64>,
    pub(super) answered: Arc<AtomicU64>,
}

struct Asked {
    command: Command,
    text: String,
    begun: Instant,
    sent: Instant,
    /// When it is to be asked again; none while an answer may come.
    again: Option<Instant>,
    answer: Option<Revision>,
}

pub(super) struct Person {
    name: String,
    number: usize,
    room: RoomId,
    codec: Codec,
    client: Option<Client>,
    connections: usize,
    asked: BTreeMap<RequestId, Asked>,
    /// Whom this one is to remove, once talking is under way.
    removes: Option<String>,
    /// The revision of that removal.
    removal: Option<Revision>,
    removing: Option<(RequestId, Instant, bool)>,
    removed: bool,
    pace: u64,
}

/// Fills rooms with people: the rooms, and one task for each person.
pub(super) async fn gather(common: &Common, rooms: usize) -> (Vec<RoomId>, Vec<JoinHandle<Person>>) {
    let name = |number: usize| format!("person{number}");
    drop(Client::connect(common.nodes[0], "auditor", Codec::Json).await);
    let (mut ids, mut tasks) = (Vec::new(), Vec::new());
    for nth in 0..rooms {
        let mut here = Vec::new();
        for number in nth * A_ROOM..(nth + 1) * A_ROOM {
            let at = common.nodes[number % common.nodes.len()];
            here.push((number, Client::connect(at, &name(number), Codec::ALL[number % 2]).await));
        }
        let mut names: Vec<String> = here.iter().skip(1).map(|(number, _)| name(*number)).collect();
        names.push("auditor".into());
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let room = here[0].1.channel(&format!("room {nth}"), &names).await;
        ids.push(room);
        for (number, mut client) in here {
            if number % A_ROOM != 0 {
                client.enter(room).await;
            }
            let removes = (number % A_ROOM == 0 && nth % 5 == 0).then(|| name(number + A_ROOM - 1));
            let mut person = Person {
                name: name(number),
                number,
                room,
                codec: client.codec,
                client: Some(client),
                connections: 0,
                asked: BTreeMap::new(),
                removes,
                removal: None,
                removing: None,
                removed: false,
                pace: 250 + u64::from(fresh::<1>()[0]) * 3,
            };
            let common = common.clone();
            tasks.push(tokio::spawn(async move {
                person.live(&common).await;
                person
            }));
        }
    }
    (ids, tasks)
}

impl Person {
    async fn live(&mut self, common: &Common) {
        let mut begun = Instant::now();
        let mut phase = common.phase.clone();
        loop {
            let now = *phase.borrow_and_update();
            let finish = now == Phase::Finish;
            if now == Phase::Gather {
                begun = Instant::now();
            }
            let waits = self.asked.values().any(|asked| asked.answer.is_none());
            let to_remove = self.removes.is_some() && self.removal.is_none();
            if self.removed || (finish && !waits && !to_remove) {
                return;
            }
            let Some(mut client) = self.connected(common).await else { continue };
            if now == Phase::Talk && !waits {
                self.say(&mut client).await;
            }
            if to_remove && (finish || begun.elapsed() > Duration::from_secs(15 + self.number as u64 % 7)) {
                self.remove(&mut client).await;
            }
            self.listen(&mut client, common).await;
            self.client = Some(client);
        }
    }

    /// The connection, made anew where it ended, the room open.
    async fn connected(&mut self, common: &Common) -> Option<Client> {
        let now = Instant::now();
        let dead =
            self.asked.values().any(|asked| asked.answer.is_none() && asked.again.is_none() && now - asked.sent > DEAD);
        if self.client.as_ref().is_some_and(|client| client.closed.is_none() && client.bye.is_none()) && !dead {
            return self.client.take();
        }
        self.connections += 1;
        let at = common.nodes[(self.number + self.connections) % common.nodes.len()];
        let Some(mut client) = Client::try_connect(at, &self.name, self.codec).await else {
            sleep(AGAIN).await;
            return None;
        };
        if let Some(earlier) = self.client.take() {
            client.inherit(earlier);
        }
        let opened = client.try_open(self.room).await;
        if client.rooms.get(&self.room).is_some_and(|log| log.reset == Some(ResetWhy::Removed)) {
            self.removed = true;
        }
        if opened {
            for asked in self.asked.values_mut().filter(|asked| asked.answer.is_none()) {
                asked.again = Some(now);
            }
            self.removing = self.removing.map(|(id, sent, _)| (id, sent, true));
            return Some(client);
        }
        self.removed |= client.refusals.iter().any(|refusal| refusal.code == Code::NotFound);
        // What it knew is resumed from by the next one.
        self.client = Some(client);
        if let Some(client) = &mut self.client {
            client.closed.get_or_insert(1006);
        }
        sleep(AGAIN).await;
        None
    }

    async fn say(&mut self, client: &mut Client) {
        let text = format!("{} says {}", self.name, self.asked.len());
        let content = Content::Plain { text: text.clone() };
        let command = Command::Submit(Submit { room: self.room, message: message_id(), content });
        let (id, now) = (request_id(), Instant::now());
        client.send(&ClientFrame::Command { id, command: command.clone() }).await;
        self.asked.insert(id, Asked { command, text, begun: now, sent: now, again: None, answer: None });
    }

    async fn remove(&mut self, client: &mut Client) {
        let Some(name) = &self.removes else { return };
        let (id, sent, again) = self.removing.unwrap_or_else(|| (request_id(), Instant::now(), true));
        if again {
            let command = Command::Remove { room: self.room, accounts: vec![account(name)] };
            client.send(&ClientFrame::Command { id, command }).await;
        }
        self.removing = Some((id, sent, false));
    }

    /// Reads for about as long as a person waits between two messages, and asks again what is to be asked again.
    async fn listen(&mut self, client: &mut Client, common: &Common) {
        let until = Instant::now() + Duration::from_millis(self.pace);
        let now = Instant::now();
        for (id, asked) in self.asked.iter_mut().filter(|(_, asked)| asked.again.is_some_and(|again| again <= now)) {
            (asked.sent, asked.again) = (now, None);
            client.send(&ClientFrame::Command { id: *id, command: asked.command.clone() }).await;
        }
        while client.closed.is_none() && timeout_at(until, client.read()).await.is_ok() {
            self.hear(client, common);
        }
        self.hear(client, common);
        if client.rooms.get(&self.room).is_some_and(|log| log.reset == Some(ResetWhy::Removed)) {
            self.removed = true;
        }
    }

    fn hear(&mut self, client: &mut Client, common: &Common) {
        for (id, answer) in std::mem::take(&mut client.answers) {
            if self.removing.is_some_and(|(removal, ..)| removal == id) {
                match answer {
                    Ok(Answer::Outcome(Outcome::Done { revision })) => self.removal = Some(revision),
                    Ok(other) => panic!("{other:?}"),
                    Err(refusal) => {
                        assert_eq!(refusal.code, Code::Unavailable, "{}", refusal.message);
                        self.removing = Some((id, Instant::now(), true));
                    }
                }
                continue;
            }
            let asked = self.asked.get_mut(&id).expect("only what was asked is answered");
            match answer {
                Ok(Answer::Outcome(Outcome::Sent { revision, .. })) => {
                    let before = asked.answer.replace(revision);
                    assert!(before.is_none_or(|before| before == revision), "{before:?}, and again {revision}");
                    let took = u64::try_from(asked.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                    common.longest.fetch_max(took, Ordering::Relaxed);
                    common.answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok(other) => panic!("{other:?}"),
                Err(refusal) if refusal.code == Code::Unavailable => asked.again = Some(Instant::now() + AGAIN),
                Err(refusal) if refusal.code == Code::NotFound => self.removed = true,
                Err(refusal) => panic!("{}: {}", self.name, refusal.message),
            }
        }
    }
}

/// Holds every answer in a room against what an auditor sees there.
pub(super) async fn audit(auditor: &mut Client, room: RoomId, people: &mut [Person]) {
    auditor.enter(room).await;
    let items: Vec<_> = auditor.rooms[&room].items.values().cloned().collect();
    let last = auditor.rooms[&room].last;
    assert_eq!(items.len() as u64, last.0, "every revision is there");
    let mut seen: BTreeMap<(String, MessageId), (Revision, String)> = BTreeMap::new();
    for item in &items {
        let Event::Message { message, kind: BodyKind::Message, .. } = item.event else { continue };
        let text = auditor.text(room, item.revision).expect("every message opens under a key that was given");
        let before = seen.insert((item.account.as_str().to_owned(), message), (item.revision, text));
        assert!(before.is_none(), "a message is there twice (L1)");
    }
    let mut known = 0;
    for person in people.iter() {
        for asked in person.asked.values() {
            let Command::Submit(submit) = &asked.command else { continue };
            let found = seen.get(&(person.name.clone(), submit.message));
            known += usize::from(found.is_some());
            match asked.answer {
                Some(revision) => {
                    let expected = (revision, asked.text.clone());
                    assert_eq!(found, Some(&expected), "an acknowledged message is there at its revision (L1)");
                }
                None => assert!(person.removed, "{} was never answered", person.name),
            }
        }
    }
    assert_eq!(known, seen.len(), "what nobody said is there");
    let removal = people.iter().find_map(|person| person.removal);
    for person in people.iter_mut() {
        let Some(client) = person.client.as_mut() else { panic!("{} has no connection", person.name) };
        if !person.removed {
            client.reach(room, last).await;
            assert_eq!(client.rooms[&room].items, auditor.rooms[&room].items, "{} saw another log", person.name);
            continue;
        }
        let removal = removal.expect("somebody removed who is removed");
        let log = client.rooms.get_mut(&room).unwrap();
        assert!(log.last <= removal, "{} was sent what came after its removal (D1)", person.name);
        for item in items.iter().filter(|item| item.revision > removal) {
            assert_eq!(sealed_text(room, item, log.openers.values_mut()), None, "it opens for who was removed (K2)");
        }
    }
}
