//! Conversations with both servers, a real one and a simulated one: each answer is the same, byte for byte.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use super::{real, server};

/// Commands that are drawn, in one run.
const COMMANDS: u64 = 20_000;
/// How many go out before answers are read.
const AT_ONCE: u64 = 50;
/// The scripts of the stores have keys of their own.
const KEYS: &[&str] = &["a", "b", "hash", "other", "set", "7", ""];

/// Where a directory's tables may be said to stand.
const STANDS: &[&str] = &["", "one", "two"];

/// A request, as it goes over the wire.
pub(crate) fn packed(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
    }
    bytes
}

/// Connections to a real server and to a simulated one.
struct Both {
    streams: [TcpStream; 2],
}

impl Both {
    fn connect(ports: [u16; 2]) -> Self {
        let connect = |port| {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("connected");
            stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
            stream.set_nodelay(true).expect("set");
            stream
        };
        Self { streams: ports.map(connect) }
    }

    /// Sends both the same, and compares everything they say up to what they say of a command that nobody knows, whoever asks.
    fn say(&mut self, bytes: &[u8]) -> Vec<u8> {
        let end = [bytes, &packed(&["that-was-all"])].concat();
        let sign = b"-ERR unknown command 'that-was-all', with args beginning with: \r\n";
        let [one, other] = self.streams.each_mut().map(|stream| {
            stream.write_all(&end).expect("sent");
            let (mut heard, mut some) = (Vec::new(), [0; 4096]);
            // A server that closes the connection says no more.
            while !heard.ends_with(sign) {
                match stream.read(&mut some) {
                    Ok(0) => break,
                    Ok(read) => heard.extend_from_slice(&some[..read]),
                    Err(why) if why.kind() == std::io::ErrorKind::ConnectionReset => break,
                    Err(why) => panic!("{why} after {:?}", String::from_utf8_lossy(&heard)),
                }
            }
            heard
        });
        let shown = String::from_utf8_lossy;
        assert_eq!(shown(&one), shown(&other), "said {:?}", shown(bytes));
        one
    }

    fn ask(&mut self, words: &[&str]) -> Vec<u8> {
        self.say(&packed(words))
    }
}

fn servers(settings: &[&str]) -> (real::Server, server::Server) {
    (real::Server::with(settings), server::Server::with(settings))
}

#[test]
fn what_is_asked_for_and_what_is_wrong_is_answered_with_the_same_bytes() {
    let (real, simulated) = servers(real::STRICT);
    let mut both = Both::connect([real.port, simulated.port]);
    for protocol in ["2", "3"] {
        // The id of a connection is in the answer: it is the number of connections there were, and a real server is asked
        // by the tests whether it is there.
        for stream in &mut both.streams {
            stream.write_all(&packed(&["HELLO", protocol])).expect("sent");
            let mut answer = [0; 4096];
            assert!(stream.read(&mut answer).expect("answered") > 40);
        }
        for conversation in CONVERSATIONS {
            let words: Vec<&str> = conversation.split_whitespace().collect();
            both.ask(&words);
        }
        let told = both.ask(&["HGETALL", "hash"]);
        assert!(told.starts_with(if protocol == "2" { b"*4" } else { b"%2" }), "{}", String::from_utf8_lossy(&told));
    }
}

const CONVERSATIONS: &[&str] = &[
    "PING",
    "PING hello",
    "PING a b",
    "ECHO",
    "ECHO a",
    "nope",
    "nope a b",
    "GET",
    "GET a b",
    "HELLO x",
    "HELLO 4",
    "HELLO 3 NOPE",
    "HELLO 3 AUTH a",
    "HELLO 3 AUTH a b",
    "AUTH",
    "AUTH x",
    "AUTH a b",
    "AUTH a b c",
    "ACL WHOAMI",
    "ACL",
    "ACL NOPE",
    "CLIENT",
    "CLIENT NOPE",
    "CLIENT SETNAME me",
    "CLIENT GETNAME",
    "CLIENT SETNAME",
    "CLIENT SETINFO LIB-NAME redis-rs",
    "CLIENT SETINFO LIB-VER 1.8.1",
    "CLIENT SETINFO NOPE x",
    "CLIENT SETINFO LIB-NAME",
    "CONFIG GET appendonly",
    "CONFIG GET appendfsync",
    "CONFIG GET no-appendfsync-on-rewrite",
    "CONFIG GET nope",
    "CONFIG GET maxmemory-policy",
    "CONFIG GET",
    "CONFIG NOPE",
    "CONFIG SET appendfsync x",
    "CONFIG SET nope x",
    "CONFIG SET appendfsync",
    "CONFIG SET no-appendfsync-on-rewrite x",
    "ROLE x",
    "SELECT x",
    "SELECT 16",
    "SELECT -1",
    "SELECT 3",
    "DBSIZE",
    "SELECT 0",
    "DBSIZE",
    "SET a 1 NX GET",
    "SET a 2 NX GET",
    "SET a 2 NX",
    "SET a 3 XX",
    "SET b 3 XX",
    "SET b 3 XX GET",
    "SET a 4 GET",
    "SET a 1 NX XX",
    "SET a 1 nope",
    "SETNX a 1",
    "SETNX b 1",
    "MGET a b c",
    "MGET",
    "DEL b b c",
    "EXISTS a a b",
    "TYPE a",
    "TYPE c",
    "STRLEN a",
    "STRLEN c",
    "HSET a f v",
    "HSET hash f",
    "HSET hash f v g w",
    "HSET hash f v g",
    "HSET hash f x",
    "HSET hash f y f z",
    "HGET hash f",
    "HGET hash x",
    "HGET a f",
    "HMGET hash f x g",
    "HMGET hash",
    "HMGET a f",
    "HMGET c f",
    "HLEN hash",
    "HLEN c",
    "TYPE hash",
    "GET hash",
    "MGET hash a",
    "SET hash x GET",
    "SET a x NX GET",
    "INCR hash",
    "INCR n",
    "SET n x",
    "INCR n",
    "SET n 9223372036854775807",
    "INCR n",
    "SET n 01",
    "INCR n",
    "SET n -1",
    "INCR n",
    "DEL n",
    "ZADD set 0 b 0 a 0 b",
    "ZADD set x a",
    "ZADD set 0",
    "ZADD set 0 a 0",
    "ZADD hash 0 a",
    "ZADD set 0 c",
    "ZCARD set",
    "ZRANGE set - + BYLEX",
    "ZRANGE set - + BYLEX LIMIT 0 2",
    "ZRANGE set - + BYLEX LIMIT 1 -1",
    "ZRANGE set (a + BYLEX",
    "ZRANGE set [a (c BYLEX",
    "ZRANGE set [b [b BYLEX",
    "ZRANGE set (b (b BYLEX",
    "ZRANGE set + - BYLEX",
    "ZRANGE set a + BYLEX",
    "ZRANGE set - + BYLEX LIMIT x 1",
    "ZRANGE set - + BYLEX LIMIT 0",
    "ZRANGE set - + BYLEX LIMIT -1 5",
    "ZRANGE c - + BYLEX",
    "ZRANGE hash - + BYLEX",
    "ZRANGE hash a + BYLEX",
    "ZRANGEBYLEX set [a +",
    "ZRANGEBYLEX set - + LIMIT 1 1",
    "ZRANGEBYLEX set - + nope",
    "TYPE set",
    "WAITAOF 1 0 100",
    "WAITAOF 0 0 100",
    "WAITAOF 2 0 100",
    "WAITAOF x 0 100",
    "WAITAOF 1 -1 100",
    "WAITAOF 1 x 100",
    "WAITAOF 1 0 -1",
    "WAITAOF 1 0 x",
    "WAITAOF 1 1 20",
    "WAIT 0 100",
    "WAIT 1 20",
    "WAIT x 1",
    "WAIT 0 -1",
    "EVALSHA ab 0",
    "EVAL x",
    "EVAL x a",
    "EVAL x 1",
    "EVAL x -1",
    "EVALSHA ab -1",
    "EVALSHA ab 2 a",
    "SCRIPT",
    "SCRIPT NOPE",
    "SCRIPT EXISTS ab",
    "SCRIPT EXISTS",
    "FLUSHALL nope",
    "ACL SETUSER",
];

#[test]
fn what_is_no_request_is_refused_with_the_same_bytes() {
    let (real, simulated) = servers(real::STRICT);
    for bytes in [
        &b"PING\r\n"[..],
        b"PING hello\n",
        b"\r\n\r\nPING\r\n",
        b"*0\r\n*1\r\n$4\r\nPING\r\n",
        b"*-1\r\nPING\r\n",
        b"*x\r\n",
        b"*1\r\n$x\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n+PING\r\n",
        b"*99999999999\r\n",
        b"$4\r\nPING\r\n",
        b"*1\r\n$9999999999\r\n",
        b"*1\r\n$4\r\nQUIT\r\n",
    ] {
        Both::connect([real.port, simulated.port]).say(bytes);
    }
}

#[test]
fn strangers_and_people_with_few_rights_are_refused_with_the_same_bytes() {
    let (real, simulated) = servers(&[real::STRICT, &["requirepass horse"]].concat());
    let connect = || Both::connect([real.port, simulated.port]);
    let say = |conversation: &[&str]| {
        let mut both = connect();
        for line in conversation {
            both.ask(&line.split_whitespace().collect::<Vec<_>>());
        }
    };
    say(&[
        "GET a",
        "HELLO 3",
        "PING",
        "nope a",
        "GET",
        "CLIENT SETINFO LIB-NAME x",
        "HELLO 3 AUTH default x",
        "AUTH x",
        "AUTH a b",
    ]);
    say(&["AUTH horse", "ACL WHOAMI", "ACL SETUSER ada on >battery ~chamberlain:* +get +mget +eval +config|get +echo"]);
    say(&[
        "AUTH ada battery",
        "GET chamberlain:a",
        "GET other:a",
        "MGET chamberlain:a other:b",
        "SET chamberlain:a 1",
        "INFO",
        "CONFIG GET appendonly",
        "CONFIG SET appendfsync no",
        "CLIENT SETNAME x",
        "ACL WHOAMI",
        "PING",
        "nope",
        "EVAL x 1 other:a",
    ]);
    connect().say(b"*11\r\n");
    connect().say(b"*1\r\n$20000\r\n");
}

#[test]
fn whatever_is_drawn_is_answered_with_the_same_bytes() {
    let (real, simulated) = servers(real::STRICT);
    let seed = std::env::var("CHAMBERLAIN_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    eprintln!("seed {seed}");
    let mut draw = ChaCha8Rng::seed_from_u64(seed);
    let mut both = Both::connect([real.port, simulated.port]);
    let scripts = chamberlain_stores::valkey::scripts();
    let mut said = 0;
    while said < COMMANDS {
        let mut bytes = Vec::new();
        for _ in 0..AT_ONCE {
            let mut below = |end: usize| (draw.next_u64() % end as u64) as usize;
            let values =
                ["1", "2", "x", "", "9007199254740993", "9007199254740992", "18446744073709551615", "home\nx", "away"];
            let key = KEYS[below(KEYS.len())];
            let value = values[below(values.len())];
            let other = values[below(values.len())];
            let script = &scripts[below(scripts.len())].1;
            let words: Vec<&str> = match below(24) {
                0 => vec!["SET", key, value],
                1 => vec!["SET", key, value, "NX", "GET"],
                2 => vec!["SET", key, value, ["XX", "GET", "NX"][below(3)]],
                3 => vec!["SETNX", key, value],
                4 | 5 => vec!["GET", key],
                6 => vec!["MGET", key, KEYS[below(KEYS.len())]],
                7 => vec!["DEL", key, KEYS[below(KEYS.len())]],
                8 => vec!["INCR", key],
                9 => vec!["HSET", key, value, other],
                10 => vec!["HMGET", key, value, other],
                11 => vec!["HGET", key, value],
                12 => vec!["ZADD", key, "0", value, "0", other],
                13 => vec!["ZRANGE", key, ["-", "(1", "[x", "+"][below(4)], ["+", "[9", "(x", "-"][below(4)], "BYLEX"],
                14 => vec!["ZRANGE", key, "-", "+", "BYLEX", "LIMIT", ["0", "1"][below(2)], ["-1", "0", "1"][below(3)]],
                15 => vec!["EXISTS", key],
                16 => vec!["TYPE", key],
                17 => vec![["HLEN", "ZCARD", "STRLEN"][below(3)], key],
                18 => vec!["WAITAOF", "1", "0", "1000"],
                19 => vec!["DBSIZE"],
                20 if below(20) == 0 => vec!["FLUSHALL"],
                _ => match script {
                    script if script.contains("BYLEX") => {
                        let (from, most) = (["-", "(1", "[x", "("][below(4)], ["0", "1", "9"][below(3)]);
                        vec!["EVAL", script, "2", key, KEYS[below(KEYS.len())], from, most]
                    }
                    script if script.contains("KEYS[2]") => {
                        let (from, to) = (STANDS[below(STANDS.len())], STANDS[below(STANDS.len())]);
                        let anew = ["", "anew"][below(2)];
                        let mut words = vec!["EVAL", script, "2", key, KEYS[below(KEYS.len())], from, to, anew];
                        words.extend([value, other, "ada", value].iter().take(2 * below(3)));
                        words
                    }
                    script => vec!["EVAL", script, "1", key, value, other],
                },
            };
            bytes.extend(packed(&words));
            said += 1;
        }
        both.say(&bytes);
    }
}
