//! People who talk in several rooms as fast as they are answered, and remember every request: what was sent, and what was
//! answered. When the server is gone and back, they go on; in the end every answer is held against what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chamberlain_core::id::{MessageId, RequestId, Revision, RoomId};
use chamberlain_core::keys::BodyKind;
use chamberlain_core::room::{Command, Content, Event, Outcome, Reason, Submit};
use chamberlain_core::wire::{Answer, ClientFrame, Codec, Query};

use super::{Client, Server, account, message_id, request_id};

/// Requests of one connection that wait for their answers.
const AT_ONCE: usize = 8;
/// Of so many requests of a person, one begins a channel.
const CREATE_EVERY: u64 = 23;
/// Of so many requests of the first person, one moves the first room to a new key version.
const ROTATE_EVERY: u64 = 31;

/// Configuration under which nobody is too fast, and snapshots are frequent.
pub(crate) const UNHURRIED: &str =
    "[limits]\nsubmits_per_second = 1000000\nsubmits_burst = 1000000\nsnapshot_every = 64\ndrain_ms = 1500\n";

/// A request, and what was answered.
struct Asked {
    command: Command,
    /// What a submit says.
    text: String,
    answer: Option<Outcome>,
}

struct Person {
    name: String,
    codec: Codec,
    client: Option<Client>,
    asked: BTreeMap<RequestId, Asked>,
    waiting: BTreeSet<RequestId>,
    count: u64,
}

pub(crate) struct Load {
    people: Vec<Person>,
    rooms: Vec<RoomId>,
    /// How many requests were answered.
    answered: Arc<AtomicUsize>,
}

impl Load {
    /// Begins the rooms: `people` talk in all of them, and an auditor is in them, too.
    pub(crate) async fn begin(server: &Server, people: usize, rooms: usize) -> Self {
        let names: Vec<String> = (0..people).map(|nth| format!("person{nth}")).collect();
        let mut clients = Vec::new();
        for (nth, name) in names.iter().enumerate() {
            clients.push(Client::connect(server.address, name, Codec::ALL[nth % 2]).await);
        }
        drop(Client::connect(server.address, "auditor", Codec::Json).await);
        let mut everybody: Vec<&str> = names.iter().map(String::as_str).collect();
        everybody.push("auditor");
        let mut ids = Vec::new();
        for nth in 0..rooms {
            ids.push(clients[0].channel(&format!("room {nth}"), &everybody).await);
        }
        for client in &mut clients[1..] {
            for room in &ids {
                client.enter(*room).await;
            }
        }
        let people = names.into_iter().zip(clients).map(|(name, client)| Person {
            name,
            codec: client.codec,
            client: Some(client),
            asked: BTreeMap::new(),
            waiting: BTreeSet::new(),
            count: 0,
        });
        Self { people: people.collect(), rooms: ids, answered: Arc::default() }
    }

    /// Everybody talks until the server is gone; `end` makes an end of it, when as many more requests as it was told are
    /// answered. Gives everybody's last words from the server.
    pub(crate) async fn talk(&mut self, answers: usize, end: impl FnOnce()) -> Vec<Option<(u16, Option<u64>)>> {
        let before = self.answered.load(Ordering::Relaxed);
        let mut tasks = Vec::new();
        for mut person in self.people.drain(..) {
            let (rooms, answered) = (self.rooms.clone(), self.answered.clone());
            tasks.push(tokio::spawn(async move {
                person.talk(&rooms, &answered).await;
                person
            }));
        }
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        while self.answered.load(Ordering::Relaxed) < before + answers {
            assert!(tokio::time::Instant::now() < deadline, "fewer than {answers} requests were answered in a minute");
            assert!(tasks.iter().all(|task| !task.is_finished()), "somebody stopped talking before the end");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        end();
        for task in tasks {
            let person =
                tokio::time::timeout(Duration::from_secs(30), task).await.expect("connections end with the server");
            self.people.push(person.unwrap());
        }
        self.people.iter().map(|person| person.client.as_ref().unwrap().bye).collect()
    }

    pub(crate) fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Everybody comes back, opens the rooms where they were, and asks again what was not answered.
    pub(crate) async fn come_back(&mut self, server: &Server) {
        for person in &mut self.people {
            let earlier = person.client.take().unwrap();
            let mut client = Client::connect(server.address, &person.name, person.codec).await;
            client.inherit(earlier);
            for room in &self.rooms {
                client.open(*room).await;
            }
            person.ask_again(&mut client).await;
            person.client = Some(client);
        }
    }

    /// Holds every answer against what the auditor sees.
    pub(crate) async fn audit(&mut self, server: &Server) {
        let mut auditor = Client::connect(server.address, "auditor", Codec::Bincode).await;
        for room in &self.rooms {
            auditor.enter(*room).await;
            let seen = Seen::of(&mut auditor, *room);
            for person in &mut self.people {
                person.check(*room, &seen);
                let client = person.client.as_mut().unwrap();
                client.reach(*room, seen.last).await;
                let items = &client.rooms[room].items;
                assert_eq!(items.len() as u64, seen.last.0, "{} has every revision once", person.name);
                assert_eq!(*items, auditor.rooms[room].items, "{} saw another log than the auditor", person.name);
            }
            let said: usize = self.people.iter().map(|person| person.submits(*room).count()).sum();
            assert_eq!(seen.messages.len(), said, "every message, and no other");
        }
        // Every creation made one room, whether its first answer arrived or not.
        let created: BTreeSet<RoomId> = self.people.iter().flat_map(Person::created).collect();
        let creations: usize = self.people.iter().map(|person| person.created().count()).sum();
        assert_eq!(created.len(), creations, "two creations made one room");
        let expected: BTreeSet<RoomId> = created.into_iter().chain(self.rooms.iter().copied()).collect();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let Ok(Answer::Rooms { rooms, .. }) = auditor.query(Query::Rooms).await else {
                panic!("rooms can be listed")
            };
            let found: BTreeSet<RoomId> = rooms.iter().map(|view| view.room).collect();
            assert!(found.is_subset(&expected), "a room that nobody was told of");
            if found == expected {
                break;
            }
            // The auditor learns of a room after its creation is answered.
            assert!(tokio::time::Instant::now() < deadline, "{} of {} rooms", found.len(), expected.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Person {
    async fn talk(&mut self, rooms: &[RoomId], answered: &AtomicUsize) {
        let mut client = self.client.take().unwrap();
        while client.closed.is_none() {
            while self.waiting.len() < AT_ONCE && client.closed.is_none() && client.bye.is_none() {
                let (id, asked) = self.next(&mut client, rooms);
                client.send(&ClientFrame::Command { id, command: asked.command.clone() }).await;
                self.asked.insert(id, asked);
                self.waiting.insert(id);
            }
            client.read().await;
            answered.fetch_add(self.hear(&mut client), Ordering::Relaxed);
        }
        self.client = Some(client);
    }

    fn next(&mut self, client: &mut Client, rooms: &[RoomId]) -> (RequestId, Asked) {
        self.count += 1;
        let text = format!("{} says {}", self.name, self.count);
        let room = rooms[self.count as usize % rooms.len()];
        let command = if self.count.is_multiple_of(CREATE_EVERY) {
            Command::CreateChannel { name: text.clone(), accounts: vec![account("auditor")], channels: vec![] }
        } else if self.name == "person0" && self.count.is_multiple_of(ROTATE_EVERY) {
            Command::Rotate { room: rooms[0] }
        } else if room == rooms[0] || self.count.is_multiple_of(3) {
            // The first room's key moves on: there the server seals, so that no retry is refused for its version.
            Command::Submit(Submit { room, message: message_id(), content: Content::Plain { text: text.clone() } })
        } else {
            client.sealed(room, &text)
        };
        (request_id(), Asked { command, text, answer: None })
    }

    /// Notes what was answered; how many that were.
    fn hear(&mut self, client: &mut Client) -> usize {
        let mut count = 0;
        for (id, answer) in std::mem::take(&mut client.answers) {
            self.waiting.remove(&id);
            match answer {
                Ok(Answer::Outcome(outcome)) => {
                    count += 1;
                    let asked = self.asked.get_mut(&id).expect("only what was asked is answered");
                    let before = asked.answer.replace(outcome);
                    assert!(before.is_none_or(|before| before == outcome), "{before:?}, and again {outcome:?}");
                }
                Ok(other) => panic!("{other:?}"),
                Err(refusal) => assert_eq!(refusal.reason, Reason::Draining, "{}", refusal.message),
            }
        }
        count
    }

    /// Asks again what was not answered, with the same id and the same bytes, and some of what was.
    async fn ask_again(&mut self, client: &mut Client) {
        self.waiting.clear();
        let unanswered = self.asked.iter().filter(|(_, asked)| asked.answer.is_none()).map(|(id, _)| *id);
        let step = (self.asked.len() / 20).max(1);
        let some = self.asked.iter().filter(|(_, asked)| asked.answer.is_some()).map(|(id, _)| *id).step_by(step);
        let again: Vec<RequestId> = unanswered.chain(some).collect();
        for id in &again {
            client.send(&ClientFrame::Command { id: *id, command: self.asked[id].command.clone() }).await;
        }
        client.until(|client| again.iter().all(|id| client.answers.contains_key(id))).await;
        self.hear(client);
        assert!(self.asked.values().all(|asked| asked.answer.is_some()), "a retry was refused");
    }

    fn submits(&self, room: RoomId) -> impl Iterator<Item = (MessageId, &Asked)> {
        self.asked.values().filter_map(move |asked| match &asked.command {
            Command::Submit(submit) if submit.room == room => Some((submit.message, asked)),
            _ => None,
        })
    }

    fn created(&self) -> impl Iterator<Item = RoomId> {
        self.asked.values().filter_map(|asked| match asked.answer {
            Some(Outcome::Created { room, .. }) => Some(room),
            _ => None,
        })
    }

    fn check(&self, room: RoomId, seen: &Seen) {
        for (message, asked) in self.submits(room) {
            let Some(Outcome::Sent { revision, .. }) = asked.answer else { panic!("{:?}", asked.answer) };
            let found = seen.messages.get(&(self.name.clone(), message));
            let expected = (revision, asked.text.clone());
            assert_eq!(found, Some(&expected), "an acknowledged message is there at its revision (L1)");
        }
    }
}

/// What an auditor sees of a room.
struct Seen {
    last: Revision,
    messages: BTreeMap<(String, MessageId), (Revision, String)>,
}

impl Seen {
    fn of(auditor: &mut Client, room: RoomId) -> Self {
        let items: Vec<_> = auditor.rooms[&room].items.values().cloned().collect();
        let mut messages = BTreeMap::new();
        for item in items {
            let Event::Message { message, kind: BodyKind::Message, .. } = item.event else { continue };
            let text = auditor.text(room, item.revision).expect("every message opens under a key that was given");
            let before = messages.insert((item.account.as_str().to_owned(), message), (item.revision, text));
            assert!(before.is_none(), "a message is there twice (L1)");
        }
        Self { last: auditor.rooms[&room].last, messages }
    }
}
