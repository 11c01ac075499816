//! The page of a run says who did what in words, marks where it breaks, and needs nothing but itself.

use std::sync::Arc;

use chamberlain_core::id::{AccountId, KeyVersion, LogId, MessageId, RequestId, Revision, RoomId};
use chamberlain_core::keys::{BodyKind, RoomSecret};
use chamberlain_core::limits::Limits;
use chamberlain_core::log::{Body, Entry, Head, Logged, Position, Record};
use chamberlain_core::room::{Command, Content, Event, Outcome, RoomKind, Submit};
use chamberlain_core::site::{MasterKey, SiteKeys};
use chamberlain_core::time::Timestamp;
use chamberlain_core::wire::{Answer, ClientFrame, Codec, Open, ServerFrame};
use chamberlain_sim::explain::{Heading, page, steps};
use chamberlain_sim::judge::Objection;
use chamberlain_sim::story::{ClientId, Lane, LinkId, NodeId, Seen, Story};

const ADA: Lane = Lane::Client(ClientId(0));
const NODE: Lane = Lane::Node(NodeId(0));

fn account(name: &str) -> AccountId {
    name.parse().expect("valid")
}

fn room() -> RoomId {
    RoomId::from_digest(&[1; 32])
}

fn request() -> RequestId {
    RequestId::from_random([1; 16])
}

fn keys() -> SiteKeys {
    SiteKeys::new("here".parse().expect("valid"), &MasterKey::from_bytes([1; 32]))
}

fn secret() -> RoomSecret {
    RoomSecret::from_bytes(&[7; 32]).expect("a scalar")
}

fn passed(from: Lane, to: Lane, left: u64, what: &str) -> Seen {
    Seen::Passed { from, to, left, what: what.to_owned() }
}

fn record(first: u64, events: Vec<Event>) -> Seen {
    let events = events.into_iter().map(|event| Logged { event, body: Body::None }).collect();
    let fingerprint = keys().fingerprint(b"any");
    let entries = vec![Entry { account: account("ada"), request: Some(request()), fingerprint, events }];
    let record = Record { first: Revision(first), time: Timestamp(0), entries }.encode();
    Seen::Landed { log: LogId::Room(room()), record }
}

fn said() -> Event {
    let message = MessageId::from_digest(&[2; 32]);
    Event::Message { message, kind: BodyKind::Message, version: KeyVersion(0), ordinal: 1 }
}

fn batch(from: u64, to: u64) -> Seen {
    let position = Position { room: room(), head: Head::default() }.to_blob(&keys());
    let frame = ServerFrame::Batch {
        room: room(),
        from: Revision(from),
        to: Revision(to),
        items: Vec::new(),
        position,
        own: Vec::new(),
    };
    Seen::Came { link: LinkId(0), frame }
}

/// Ada opens the garden, somebody speaks in it, revision 5 passes her by.
fn garden() -> Story {
    let mut story = Story::new(Arc::new(keys()), Arc::new(Limits::default()), 1_000_000);
    story.detailed = true;
    let link = LinkId(0);
    let open = Open { room: room(), position: None, from: Some(Revision(1)), kinds: None, limit: None };
    let submit = Submit {
        room: room(),
        message: MessageId::from_digest(&[2; 32]),
        content: Content::Plain { text: "<b>tea</b>?".to_owned() },
    };
    let command = ClientFrame::Command { id: request(), command: Command::Submit(submit) };
    let created = Event::Created {
        kind: RoomKind::Channel,
        site: "here".parse().expect("valid"),
        name: Some("garden".parse().expect("a name")),
        owner: Some(account("ada")),
    };
    let told: Vec<(u64, Seen)> = vec![
        (0, Seen::Started { node: NodeId(0) }),
        (0, record(1, vec![created])),
        (
            10,
            Seen::Connected {
                link,
                client: ClientId(0),
                account: account("ada"),
                node: NodeId(0),
                codec: Codec::Json,
                batch: true,
            },
        ),
        (20, Seen::Sent { link, frame: ClientFrame::Open(open) }),
        (20, Seen::Sent { link, frame: command }),
        (30, Seen::Sent { link, frame: ClientFrame::Ping }),
        (50, passed(ADA, NODE, 20, "open")),
        (50, Seen::State { of: NODE, what: format!("{}: delivered 0, head 1", room()) }),
        (60, passed(ADA, NODE, 20, "command")),
        (70, Seen::Put { room: room(), version: KeyVersion(0), secret: secret() }),
        (80, record(4, vec![said(), said()])),
        (80, passed(NODE, Lane::Logs, 75, "append")),
        (90, passed(NODE, ADA, 80, "batch")),
        (90, batch(4, 4)),
        (95, Seen::Fault { what: format!("the log of {} is slow", room()) }),
        (300_000, passed(NODE, ADA, 95, "batch")),
        (300_000, batch(6, 6)),
        (300_001, Seen::Came { link, frame: ok() }),
        (300_002, Seen::Stopped { node: NodeId(0), drained: false }),
        (300_003, Seen::Ended { link, code: None }),
        (300_004, Seen::Healed),
    ];
    for (at, seen) in told {
        story.note(at, seen);
    }
    story
}

fn ok() -> ServerFrame {
    let outcome = Outcome::Sent { revision: Revision(4), time: Timestamp(0), version: KeyVersion(0) };
    ServerFrame::Ok { id: request(), answer: Answer::Outcome(outcome) }
}

fn gap() -> Objection {
    let what = format!("ada was given {} up to 4 and then 6: 5 is missing", room());
    Objection { oracle: "S1", invariant: "each opening covers consecutive revisions", what, at: Some(16) }
}

fn heading() -> Heading {
    Heading {
        scenario: "garden".to_owned(),
        source: "seed 7".to_owned(),
        facts: vec!["3 decisions".to_owned()],
        configuration: "clients 1".to_owned(),
        commands: vec![("cargo xtask sim replay garden.tape".to_owned(), "The same run in words".to_owned())],
    }
}

#[test]
fn a_story_is_told_in_words_with_names_for_ids() {
    let told = steps(&garden(), &[gap()]);
    for line in [
        "node 0 starts",
        "ada -> node 0 connects to node 0 as ada (Json)",
        "ada -> node 0 opens garden from 1 on",
        "asks to say \u{201c}<b>tea</b>?\u{201d} in garden (ada#1)",
        "ada -> node 0 asks whether anybody is there; it never arrives",
        "vault the secret of key 0 of garden is kept",
        "node 0 -> logs garden r4\u{2013}5 is durable: ada's message under key 0, ada's message under key 0",
        "ada <- node 0 gets r4 of garden",
        "the log of garden is slow",
        "ada <- node 0 is answered: ada#1 is done, at 4 under key 0",
        "node 0 crashes",
        "ada is disconnected without a word",
        "From here on nothing goes wrong any more",
    ] {
        assert!(told.contains(line), "{line} is not in\n{told}");
    }
    assert!(!told.contains(room().as_str()), "ids have names: {told}");
}

#[test]
fn a_message_is_one_step_at_its_arrival() {
    let told = steps(&garden(), &[gap()]);
    assert_eq!(told.matches("opens garden").count(), 1);
    assert_eq!(told.matches("gets r4").count(), 1);
    assert_eq!(told.matches("durable").count(), 2);
    assert!(!told.contains("append"), "the record itself tells of it: {told}");
}

#[test]
fn the_step_that_breaks_it_is_marked_and_no_other() {
    let told = steps(&garden(), &[gap()]);
    let marked: Vec<&str> = told.lines().filter(|line| line.starts_with('!')).collect();
    assert_eq!(marked.len(), 1);
    assert!(marked[0].contains("gets r6 of garden"), "{}", marked[0]);
}

#[test]
fn the_page_says_at_the_top_what_broke_and_how() {
    let html = page(&garden(), &heading(), &[gap()]);
    assert!(html.contains("S1 broken</span> each opening covers consecutive revisions"));
    assert!(html.contains("ada was given garden up to 4 and then 6: 5 is missing"));
    assert!(html.contains("300 ms later") || html.contains("299 ms later"));
    let good = page(&garden(), &heading(), &[]);
    assert!(good.contains("Every invariant held"));
}

#[test]
fn the_page_needs_nothing_but_itself_and_is_the_same_every_time() {
    let html = page(&garden(), &heading(), &[gap()]);
    for outside in ["src=\"", "href=\"", "@import", "url(", "fetch(", "import("] {
        assert!(!html.contains(outside), "{outside}");
    }
    assert!(!html.contains("{{"), "the template is filled");
    assert_eq!(html, page(&garden(), &heading(), &[gap()]));
}

#[test]
fn what_a_client_says_cannot_become_a_part_of_the_page() {
    let html = page(&garden(), &heading(), &[]);
    assert!(!html.contains("<b>tea</b>"));
    assert!(html.contains("&lt;b&gt;tea&lt;/b&gt;?"));
    let mut story = garden();
    story.note(400_000, Seen::State { of: NODE, what: "</script><script>alert(1)".to_owned() });
    let html = page(&story, &heading(), &[]);
    assert_eq!(html.matches("</script>").count(), 2, "the page's own two");
}

#[test]
fn a_story_without_details_has_its_messages_all_the_same() {
    let mut story = garden();
    story.detailed = false;
    story.seen.retain(|(_, seen)| !matches!(seen, Seen::Passed { .. } | Seen::State { .. }));
    let told = steps(&story, &[]);
    assert!(told.contains("ada -> node 0 opens garden from 1 on\n"), "{told}");
    assert!(!told.contains("never arrives"));
    assert!(told.contains("logs garden r4"));
}

#[test]
fn an_empty_story_has_a_page_too() {
    let story = Story::new(Arc::new(keys()), Arc::new(Limits::default()), 1);
    assert!(page(&story, &heading(), &[]).contains("Every invariant held"));
    assert_eq!(steps(&story, &[]), "");
}

#[test]
fn what_each_one_holds_is_told_as_it_changes() {
    let html = page(&garden(), &heading(), &[gap()]);
    for held in [
        r#""garden","open after r3, has r4"]"#,
        r#""garden","open after r3, has r4, then r6"]"#,
        r#""garden","delivered 0, head 1"]"#,
        r#""garden","up to r5"]"#,
        r#""garden",null]"#,
    ] {
        assert!(html.contains(held), "{held}");
    }
}
