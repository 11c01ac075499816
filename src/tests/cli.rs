//! The built binary as people use it: commands, what they print, how they end, and what is left behind.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking, and their helpers are tests, too")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tempfile::TempDir;

/// How long anything may take, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);
const SECRET: &str = "thirty-two bytes of a secret at least";

/// The binary, with nothing of this process's configuration.
fn chamberlain(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chamberlain"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CHAMBERLAIN_")) {
        command.env_remove(name);
    }
    command.args(words).stdin(Stdio::null());
    command
}

struct Ended {
    code: i32,
    out: String,
    err: String,
}

fn run(command: &mut Command) -> Ended {
    ended(command.output().unwrap())
}

fn ended(output: Output) -> Ended {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// Runs it and gives it these lines.
fn run_with_input(command: &mut Command, input: &str) -> Ended {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    ended(child.wait_with_output().unwrap())
}

impl Ended {
    #[track_caller]
    fn well(self) -> String {
        assert_eq!(self.code, 0, "it said {}{}", self.out, self.err);
        self.out
    }

    #[track_caller]
    fn badly(self, code: i32, said: &[&str]) {
        assert_eq!(self.code, code, "it said {}{}", self.out, self.err);
        for part in said {
            assert!(self.err.contains(part), "{part:?} is not in {}", self.err);
        }
    }
}

/// A server over a data folder, stopped when the test ends however it ends.
struct Server {
    child: Child,
    banner: String,
    url: String,
}

impl Server {
    fn start(data: &Path, words: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = chamberlain(&["serve", "--listen", "127.0.0.1:0", "--data"]);
        command.arg(data).args(words).envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut banner = String::new();
        for line in lines.by_ref() {
            let line = line.unwrap();
            banner.push_str(&line);
            banner.push('\n');
            if line.starts_with("Ctrl-C") {
                break;
            }
        }
        let url = banner.lines().find_map(|line| line.trim().strip_prefix("Open")).map(|url| url.trim().to_owned());
        let Some(url) = url else {
            let output = child.wait_with_output().unwrap();
            panic!("the server did not start: {banner}{}", String::from_utf8_lossy(&output.stderr));
        };
        Self { child, banner, url }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn wait(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "the server does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn stop(&mut self) {
        self.signal("-TERM");
        assert_eq!(self.wait(), Some(0));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A command on this data folder.
fn on(data: &Path, words: &[&str]) -> Command {
    let mut command = chamberlain(words);
    command.arg("--data").arg(data);
    command
}

/// Writes a certificate for `localhost` that nobody signed, and its key.
fn certify(cert: &Path, key: &Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pem = |label: &str, der: &[u8]| {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
    };
    std::fs::write(key, pem(concat!("PRIVATE", " KEY"), &made.signing_key.serialize_der())).unwrap();
    std::fs::write(cert, pem("CERTIFICATE", made.cert.der())).unwrap();
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn nonsense_ends_with_code_two_and_help_with_zero() {
    run(&mut chamberlain(&[])).badly(2, &["Usage"]);
    run(&mut chamberlain(&["sing"])).badly(2, &["unrecognized subcommand"]);
    run(&mut chamberlain(&["token", "Ada"])).badly(2, &["1 to 64 characters"]);
    for words in [&["--help"][..], &["serve", "--help"], &["chat", "--help"], &["account", "import", "--help"]] {
        assert!(run(&mut chamberlain(words)).well().contains("xample") || words == ["--help"], "{words:?}");
    }
    assert!(run(&mut chamberlain(&["--version"])).well().starts_with("chamberlain "));
}

#[test]
fn the_openapi_document_is_printed() {
    let document: serde_json::Value = serde_json::from_str(&run(&mut chamberlain(&["openapi"])).well()).unwrap();
    assert!(document["paths"]["/v1/rooms"].is_object());
}

#[test]
fn the_configuration_is_shown_with_origins_and_without_secrets() {
    let data = folder();
    let file = data.path().join("a.toml");
    std::fs::write(&file, "site = \"hq\"\n[auth]\nmode = \"jwt\"\n").unwrap();
    let mut command = on(data.path(), &["config", "print"]);
    command
        .arg("--config")
        .arg(&file)
        .env("CHAMBERLAIN_AUTH__HMAC_SECRET", SECRET)
        .env("CHAMBERLAIN_LOGGING__FORMAT", "json");
    let shown = run(&mut command).well();
    assert!(!shown.contains(SECRET) && shown.contains("(set)"), "{shown}");
    for (key, origin) in [
        ("site = \"hq\"", "# file "),
        ("format = \"json\"", "# environment CHAMBERLAIN_LOGGING__FORMAT"),
        ("data = ", "# flag --data"),
        ("listen = ", "# default"),
        ("room_members = 10000", "# default"),
    ] {
        let line =
            shown.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key} is not in {shown}"));
        assert!(line.contains(origin), "{line}");
    }
}

#[test]
fn a_configuration_is_checked_with_the_files_it_names() {
    let data = folder();
    let check = |text: &str| {
        let file = data.path().join("a.toml");
        std::fs::write(&file, text).unwrap();
        run(on(data.path(), &["config", "check"]).arg("--config").arg(&file))
    };
    assert!(check("site = \"hq\"\n").well().contains("makes sense"));
    check("[limits]\nsockets = 0\n").badly(2, &["limits.sockets", "1 to 10000000"]);
    check("listen = \"0.0.0.0:1\"\n").badly(2, &["listen", "auth.mode = \"jwt\""]);
    check("[auth]\nmode = \"jwt\"\njwks_file = \"absent.json\"\naudience = \"a\"\n")
        .badly(2, &["auth.jwks_file", "absent.json"]);
    check("[tls]\ncert = \"absent.pem\"\nkey = \"absent.pem\"\n").badly(2, &["tls.cert", "absent.pem"]);
}

#[test]
fn strangers_are_not_let_in_by_mistake() {
    let data = folder();
    let refused = run(on(data.path(), &["serve"]).args(["--listen", "0.0.0.0:0"]));
    refused.badly(2, &["under any name", "auth.mode = \"jwt\""]);
    let refused = run(on(data.path(), &["serve", "--dev"]).args(["--listen", "0.0.0.0:0"]));
    refused.badly(2, &["under any name"]);
    assert!(!data.path().join("store.redb").exists(), "nothing was made");
}

#[test]
fn a_day_in_the_life_of_a_server() {
    let folder = folder();
    let data = &folder.path().join("data");
    let mut server = Server::start(data, &[], &[]);
    assert!(
        server.banner.contains("development") && server.banner.contains("master key was made"),
        "{}",
        server.banner
    );

    let people = "account,name,admin\nada,Ada Lovelace,yes\nbob,Bob,\n";
    let imported = run_with_input(&mut on(data, &["account", "import", "-"]), people).well();
    assert!(imported.contains("2 accounts are in"), "{imported}");
    run_with_input(&mut on(data, &["account", "import", "-"]), "account\nBob\n")
        .badly(2, &["line 2", "account must be"]);
    let shown = run(&mut on(data, &["account", "show", "ada"])).well();
    assert!(
        shown.contains("Ada Lovelace")
            && shown.lines().any(|line| line.starts_with("administrator") && line.ends_with("yes"))
    );

    let talk =
        run_with_input(&mut on(data, &["chat", "lobby", "--as", "ada", "--create"]), "hello\n//away\n/members\n")
            .well();
    for part in ["* lobby", "k0", "ada: hello", "ada: /away", "* 1 in the room"] {
        assert!(talk.contains(part), "{part:?} is not in {talk}");
    }
    run(&mut on(data, &["chat", "lobby", "--as", "bob"])).badly(1, &["bob is in no room", "--create"]);
    let dm = run_with_input(&mut on(data, &["chat", "@bob", "--as", "ada"]), "psst\n").well();
    assert!(dm.contains("ada: psst"), "{dm}");
    assert!(run(&mut on(data, &["chat", "ada", "--as", "bob"])).well().contains("ada: psst"), "bob reads it, too");

    let listed = run(&mut on(data, &["room", "list"]));
    assert!(listed.err.contains("through the server at"), "{}", listed.err);
    let listed = listed.well();
    assert!(listed.contains("lobby") && listed.contains("dm"), "{listed}");
    let log = run(&mut on(data, &["room", "log", "lobby", "--json"])).well();
    let events: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events[0]["event"]["created"]["name"], "lobby");
    assert!(!log.contains("hello"), "administrators do not see what is said");

    run(&mut on(data, &["serve", "--listen", "127.0.0.1:0"])).badly(1, &["holds"]);
    let copy = folder.path().join("copy.redb");
    run(on(data, &["backup"]).arg(&copy)).well();
    run(on(data, &["backup"]).arg(&copy)).badly(1, &["is there already"]);

    server.stop();
    assert!(!data.join("server.json").exists() && !data.join("admin.token").exists());
    run(&mut on(data, &["chat", "lobby", "--as", "ada"])).badly(1, &["no server runs"]);
    let disabled = run(&mut on(data, &["account", "disable", "bob"]));
    assert!(disabled.err.contains("no server runs: opening"), "{}", disabled.err);
    assert!(disabled.well().contains("bob is shut out"));
    let listed = run(&mut on(data, &["account", "list", "--json"])).well();
    let bob = listed.lines().find(|line| line.contains("\"bob\"")).unwrap();
    assert!(bob.contains("\"disabled\":true"), "{bob}");

    let elsewhere = &folder.path().join("elsewhere");
    run(on(elsewhere, &["restore"]).arg(&copy)).badly(2, &["master.key", "CHAMBERLAIN_MASTER_KEY"]);
    run(on(data, &["restore"]).arg(&copy)).badly(1, &["store.redb is there"]);
    let wrong = run(on(elsewhere, &["restore"]).arg(&copy).env("CHAMBERLAIN_MASTER_KEY", "00".repeat(32)));
    wrong.badly(2, &["another master key"]);
    std::fs::create_dir_all(elsewhere).unwrap();
    std::fs::copy(data.join("master.key"), elsewhere.join("master.key")).unwrap();
    assert!(run(on(elsewhere, &["restore"]).arg(&copy)).well().contains("all of it was checked"));
    let _restored = Server::start(elsewhere, &[], &[]);
    assert!(run(&mut on(elsewhere, &["chat", "lobby", "--as", "ada"])).well().contains("ada: hello"));
}

#[test]
fn what_a_killed_server_left_behind_is_in_nobodys_way() {
    let data = folder();
    let mut server = Server::start(data.path(), &[], &[]);
    server.signal("-KILL");
    server.wait();
    assert!(data.path().join("server.json").exists());
    let listed = run(&mut on(data.path(), &["account", "list"]));
    assert!(listed.err.contains("no server runs: opening"), "{}", listed.err);
    assert!(listed.well().contains("chamberlain-admin@local"));
    Server::start(data.path(), &[], &[]).stop();
}

#[test]
fn signed_tokens_are_made_and_taken() {
    let data = folder();
    let variables = [
        ("CHAMBERLAIN_AUTH__MODE", "jwt"),
        ("CHAMBERLAIN_AUTH__HMAC_SECRET", SECRET),
        ("CHAMBERLAIN_AUTH__ADMIN_CLAIM", "admin"),
    ];
    let with = |command: &mut Command| run(command.envs(variables));
    let server = Server::start(data.path(), &[], &variables);
    assert!(server.banner.contains("signed tokens"), "{}", server.banner);

    let token = with(&mut on(data.path(), &["token", "ada", "--ttl", "1h"])).well();
    let talk = run_with_input(
        on(data.path(), &["chat", "lobby", "--as", "ada", "--create"]).env("CHAMBERLAIN_TOKEN", &token).envs(variables),
        "hello\n",
    );
    assert!(talk.well().contains("ada: hello"));
    assert!(
        with(&mut on(data.path(), &["chat", "lobby", "--as", "ada"])).well().contains("ada: hello"),
        "a token is made"
    );
    with(on(data.path(), &["chat", "lobby", "--as", "bob"]).env("CHAMBERLAIN_TOKEN", &token))
        .badly(2, &["ada's", "bob's"]);
    with(on(data.path(), &["chat", "lobby", "--as", "ada"]).env("CHAMBERLAIN_TOKEN", "nonsense")).badly(1, &["token"]);

    let remote = |token: &str| {
        let url = server.url.as_str();
        run(chamberlain(&["room", "list", "--url", url]).env("CHAMBERLAIN_TOKEN", token))
    };
    remote(token.trim()).badly(1, &["not_admin"]);
    let admin = with(&mut on(data.path(), &["token", "root", "--admin"])).well();
    assert!(remote(admin.trim()).well().contains("lobby"));
    assert!(
        run(on(data.path(), &["room", "list"]).envs(variables)).well().contains("lobby"),
        "this machine administers"
    );
    run(&mut chamberlain(&["room", "list", "--url", &server.url])).badly(2, &["CHAMBERLAIN_TOKEN"]);
}

#[test]
fn in_development_the_token_is_the_name() {
    let data = folder();
    let made = run(&mut on(data.path(), &["token", "ada", "--name", "Ada"]));
    assert!(made.err.contains("the token is the name itself"), "{}", made.err);
    assert_eq!(made.well(), "ada|Ada\n");
}

#[test]
fn a_server_with_a_certificate_is_trusted_for_what_it_is() {
    let data = folder();
    let (cert, key) = (data.path().join("cert.pem"), data.path().join("key.pem"));
    certify(&cert, &key);
    let tls = [("CHAMBERLAIN_TLS__CERT", cert.to_str().unwrap()), ("CHAMBERLAIN_TLS__KEY", key.to_str().unwrap())];
    let home = data.path().join("data");
    let mut server = Server::start(&home, &[], &tls);
    assert!(server.url.starts_with("https://127.0.0.1:"), "{}", server.url);

    // By its very certificate, although that is for another name.
    let talk = run_with_input(&mut on(&home, &["chat", "lobby", "--as", "ada", "--create"]), "hello\n");
    assert!(talk.well().contains("ada: hello"));
    assert!(run(&mut on(&home, &["room", "list"])).well().contains("lobby"));

    // By name and authority; and not without.
    let named = server.url.replace("127.0.0.1", "localhost");
    let token = std::fs::read_to_string(home.join("admin.token")).unwrap();
    let remote = |ca: bool| {
        let mut command = chamberlain(&["room", "list", "--url", &named]);
        if ca {
            command.arg("--ca").arg(&cert);
        }
        run(command.env("CHAMBERLAIN_TOKEN", token.trim()))
    };
    assert!(remote(true).well().contains("lobby"));
    remote(false).badly(1, &["no server answers"]);

    // Another certificate, without a restart.
    certify(&cert, &key);
    server.signal("-HUP");
    let begun = Instant::now();
    while remote(true).code != 0 {
        assert!(begun.elapsed() < PATIENCE, "the certificate was not read again");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(run(&mut on(&home, &["room", "list"])).well().contains("lobby"), "the new one is known on this machine");
    server.stop();
}

#[test]
fn a_second_signal_stops_at_once() {
    let data = folder();
    let mut server = Server::start(data.path(), &[], &[]);
    // A request whose body does not come holds the first stop up for seconds.
    let address = server.url.trim_start_matches("http://");
    let mut half = std::net::TcpStream::connect(address).unwrap();
    let request = format!(
        "POST /v1/rooms HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer ada\r\nContent-Length: 9\r\n\r\n{{"
    );
    half.write_all(request.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    server.signal("-INT");
    std::thread::sleep(Duration::from_millis(300));
    server.signal("-INT");
    assert_eq!(server.wait(), Some(1));
}
