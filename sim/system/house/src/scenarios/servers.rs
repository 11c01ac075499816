//! Servers beneath several nodes that come back with less than they had, hold what nobody can read, or carry what clients ask.

use std::sync::Arc;
use std::time::Duration;

use chamberlain_core::id::{LogId, RoomId};
use chamberlain_core::log::{Digest, Head, RecordBytes};
use chamberlain_core::room::{Outcome, Reason};
use chamberlain_core::site::MasterKey;
use chamberlain_core::wire::Answer;
use chamberlain_sim::tape::Actor;
use chamberlain_stores::Appended;
use futures_util::StreamExt;
use madsim::runtime::Handle;
use tokio::time::timeout;

use crate::fleet::nats::Finds;
use crate::fleet::{Fleet, faults, number};
use crate::house::House;
use crate::person::Person;
use crate::run::{MASTER, end, people};

const SCRIPT: Actor = Actor::only("script");
/// What was said while a node was away comes to its people within this.
const HEARD: Duration = Duration::from_secs(60);
/// A room has made up its mind after so many questions, each a second after the answer to the one before.
const QUESTIONS: usize = 10;

/// An answer on subjects comes within this, or not at all.
const ANSWERED: Duration = Duration::from_secs(5);

/// How a room stands after something was lost or broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    /// A message landed right after the head that is there.
    GoesOn,
    /// It says that it is quarantined.
    Stopped,
}

/// People who are at a node each, in rooms that all of them are in.
struct Table {
    house: Arc<House>,
    people: Vec<Person>,
    rooms: Vec<RoomId>,
}

impl Table {
    async fn set(house: &Arc<House>, rooms: usize) -> Self {
        let mut people = Vec::new();
        for (nth, name) in ["ada", "bob", "cay"].into_iter().enumerate() {
            let person = Person::come_to(house, nth, nth as u32, name, None).await;
            people.push(person.unwrap_or_else(|| panic!("{name} is not let in")));
        }
        let mut table = Self { house: house.clone(), people, rooms: Vec::new() };
        for nth in 0..rooms {
            let room = table.people[nth % 3].channel(&["ada", "bob", "cay"]).await;
            table.rooms.push(room);
            for person in &mut table.people {
                // It is told of the room first, by whichever node.
                person.rest(Duration::from_millis(300)).await;
                person.open(room);
            }
            table.say(room, 1).await;
        }
        table
    }

    /// Some messages, which everybody sees.
    async fn say(&mut self, room: RoomId, messages: u64) {
        for nth in 0..messages {
            let last = self.people[nth as usize % 3].say(room, "one after the other").await;
            for person in &mut self.people {
                self.house.must(person.reach(room, last).await, "what is said is seen at every node");
            }
        }
    }

    fn head(&self, room: RoomId) -> Head {
        self.house.witness.head(&LogId::Room(room))
    }

    /// Says one thing after the other until it is clear how a room stands.
    async fn ask(&mut self, at: usize, room: RoomId) -> Option<Stands> {
        for _ in 0..QUESTIONS {
            let before = self.head(room).revision;
            let person = &mut self.people[at];
            let command = person.words(room, "is anybody there?");
            let id = person.begin(command);
            match person.answer(id).await {
                Some(Ok(Answer::Outcome(Outcome::Sent { revision, .. }))) => {
                    self.house
                        .must(revision > before, "what was acknowledged is not acknowledged again for something else");
                    return Some(Stands::GoesOn);
                }
                Some(Err(Reason::Quarantined)) => return Some(Stands::Stopped),
                Some(_) => person.rest(Duration::from_secs(1)).await,
                None => return None,
            }
        }
        None
    }

    async fn leave(self) {
        for person in self.people {
            person.leave().await;
        }
    }
}

fn fleet(house: &House) -> Arc<Fleet> {
    house.fleet.clone().expect("the plan has several nodes")
}

/// People write, and one thing after the other happens to nodes and servers.
pub(super) async fn schedule(house: Arc<House>) {
    let hosts = people(&house);
    faults::schedule(&house, &fleet(&house)).await;
    end(&house, &hosts, Vec::new()).await;
}

/// A node is cut off from nats-server for so long that it connects anew, while something is said elsewhere. Nothing is said
/// afterwards, and nobody asks: it comes all the same.
pub(super) async fn quiet_room(house: Arc<House>) {
    let mut table = Table::set(&house, 2).await;
    let (fleet, server) = (fleet(&house), house.servers[2].clone());
    let span = Duration::from_secs(14 + house.witness.draw(SCRIPT, "span", 12));
    house.witness.fault(format!("node 2 is cut off from nats-server for {span:?}"));
    house.witness.probe("a node was cut off");
    let cut = tokio::spawn(async move { fleet.nats.cut(server.host(), span).await });
    let mut last = Vec::new();
    for room in table.rooms.clone() {
        last.push((room, table.people[0].say(room, "who hears it?").await));
        table.people[1].rest(Duration::from_millis(500)).await;
    }
    house.must(cut.await.is_ok(), "what was cut is mended");
    house.witness.remark("node 2 is reached as before");
    for (room, last) in last {
        let came = timeout(HEARD, table.people[2].reach(room, last)).await;
        house.must(came == Ok(true), "what was said while a node was cut off comes by itself");
    }
    table.leave().await;
}

/// nats-server comes back with an older copy of its disk. Rooms that lost nothing go on; those that did are stopped, or are whole
/// again: nobody is told of another record at a revision that was acknowledged.
pub(super) async fn older_disk(house: Arc<House>) {
    let mut table = Table::set(&house, 3).await;
    let rooms = table.rooms.clone();
    let copy = fleet(&house).nats.disk.copy();
    let mut lost = Vec::new();
    for room in &rooms {
        // The first choice loses one message: nothing but memory can know.
        let messages = house.witness.pick(SCRIPT, "messages", &[1, 0, 4]);
        table.say(*room, messages).await;
        lost.push(messages);
    }
    house.witness.break_stores();
    house.witness.fault("nats-server is killed, and its disk is put back to an earlier copy");
    house.witness.probe("nats-server found an older disk");
    let away = Duration::from_millis(100 + house.witness.draw(SCRIPT, "away", 4_000));
    fleet(&house).nats.down(Finds::Copy(copy), away).await;
    for (room, lost) in rooms.into_iter().zip(lost) {
        for at in 0..3 {
            let stands = table.ask(at, room).await;
            house.must(stands.is_some(), "a room goes on or says that it does not");
            house.must(lost > 0 || stands == Some(Stands::GoesOn), "a room that lost nothing goes on");
        }
    }
    house.must(!house.witness.has_forked(), "no log has another record where one was acknowledged");
    table.leave().await;
}

/// A record that nobody can read stands in a room's log. The room stops and says so; others go on, and nobody skips it.
pub(super) async fn unreadable(house: Arc<House>) {
    let mut table = Table::set(&house, 2).await;
    let (room, other) = (table.rooms[0], table.rooms[1]);
    let before = table.head(room);
    house.witness.break_stores();
    house.witness.fault("somebody writes what is no record into the log of a room");
    house.witness.probe("what is no record was in a log");
    let fleet = fleet(&house);
    let machine = Handle::current().create_node().name("stranger").build();
    fleet.near(number(&machine));
    let written = machine.spawn(async move {
        let site = "here".parse().expect("a site");
        let (stores, _) = fleet.open(&MasterKey::from_bytes(MASTER), &site).await?;
        let after = Head { revision: before.revision.next(), digest: Digest([0xa5; 32]) };
        let bytes = vec![0xff; 40].into();
        let record = RecordBytes { first: after.revision, last: after.revision, bytes };
        stores.logs.append(&LogId::Room(room), before, record, after).await.map_err(|why| why.to_string())
    });
    let written = written.await.unwrap_or_else(|why| Err(why.to_string()));
    assert!(matches!(written, Ok(Appended::Done(_))), "{written:?}");
    for at in 0..3 {
        let stopped = table.ask(at, room).await == Some(Stands::Stopped);
        house.must(stopped, "a room whose log cannot be read stops, and says so");
        if !stopped {
            break;
        }
        house.must(table.ask(at, other).await == Some(Stands::GoesOn), "the others go on");
    }
    house.must(table.head(room) == before, "nothing is appended to what cannot be read");
    table.leave().await;
}

/// Somebody asks on NATS subjects for rooms, and names another account's inbox to answer at: nothing is ever published there.
pub(super) async fn foreign_reply(house: Arc<House>) {
    let mut ada = house.guest(0, "ada").await;
    let room = ada.channel(&["bob"]).await;
    let machine = Handle::current().create_node().name("client on subjects").build();
    fleet(&house).near(number(&machine));
    let url = fleet(&house).nats.url();
    house.witness.probe("an answer was asked for at somebody else's");
    let asked = machine.spawn(async move {
        let client = async_nats::connect(url).await.expect("the server takes everybody");
        let mut heard = Vec::new();
        for inbox in ["_INBOX.bob.1", "chat.user.bob.response.1", "_INBOX.ada.1"] {
            let mut inbox_of = client.subscribe(inbox).await.expect("it is connected");
            let subject = format!("chat.user.ada.request.room.{room}.here.member.list");
            client.publish_with_reply(subject, inbox, "{}".into()).await.expect("it is connected");
            heard.push(timeout(ANSWERED, inbox_of.next()).await.is_ok());
        }
        heard
    });
    let heard = asked.await.unwrap_or_default();
    house.must(heard == [false, false, true], "an answer comes where the requester may read, and nowhere else");
    ada.leave().await;
}
