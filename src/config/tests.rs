//! What wins over what, what is refused, and in which words.

use std::path::{Path, PathBuf};

use super::*;

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Loads a file of this text with these variables, in a folder where nothing else is.
fn load_text(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Vec<Problem>> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.toml");
    std::fs::write(&file, text).expect("written");
    load(&Flags { config: Some(file), ..Flags::default() }, &environment(variables))
}

fn refused(text: &str, variables: &[(&str, &str)]) -> String {
    let problems = load_text(text, variables).expect_err(text);
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

/// In an empty folder, with nothing said.
fn bare(flags: &Flags) -> Loaded {
    let folder = tempfile::tempdir().expect("a folder");
    let data = flags.data.clone().or_else(|| Some(folder.path().join("data")));
    load(&Flags { data, ..flags.clone() }, &[]).expect("defaults make sense")
}

#[test]
fn without_configuration_it_is_development_on_loopback() {
    let Loaded { config, settings } = bare(&Flags::default());
    assert_eq!(config.listen.to_string(), "127.0.0.1:7300");
    assert!(matches!(config.sign_in.mode, SignInMode::Development));
    assert!(config.sign_in.provision && config.tls.is_none() && config.grace_hours.is_none());
    assert_eq!(config.limits, Limits::default());
    assert_eq!(settings.origin("listen"), Origin::Default);
    assert_eq!(settings.value("data").map(Value::to_string), Some(format!("{:?}", config.data.display().to_string())));
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_defaults() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.toml");
    std::fs::write(&file, "listen = \"127.0.0.1:1\"\nsite = \"one\"\nnode = \"of-file\"\n").expect("written");
    let flags = Flags { config: Some(file.clone()), listen: Some("127.0.0.1:3".into()), ..Flags::default() };
    let variables = environment(&[("CHAMBERLAIN_LISTEN", "127.0.0.1:2"), ("CHAMBERLAIN_SITE", "two")]);
    let Loaded { config, settings } = load(&flags, &variables).expect("makes sense");
    assert_eq!(config.listen.to_string(), "127.0.0.1:3");
    assert_eq!(settings.origin("listen"), Origin::Flag("--listen"));
    assert_eq!(config.site.as_str(), "two");
    assert_eq!(settings.origin("site"), Origin::Environment("CHAMBERLAIN_SITE".into()));
    assert_eq!(config.node, "of-file");
    assert_eq!(settings.origin("node"), Origin::File(file));
    assert_eq!(settings.origin("keys.retain"), Origin::Default);
}

#[test]
fn the_file_of_the_data_folder_is_read_where_no_other_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let inside = folder.path().join(FILE_NAME);
    std::fs::write(&inside, "node = \"inside\"\n").expect("written");
    let flags = Flags { data: Some(folder.path().to_owned()), ..Flags::default() };
    let loaded = load(&flags, &[]).expect("makes sense");
    assert_eq!((loaded.config.node.as_str(), loaded.settings.origin("node")), ("inside", Origin::File(inside.clone())));

    let elsewhere = folder.path().join("elsewhere.toml");
    std::fs::write(&elsewhere, "node = \"elsewhere\"\n").expect("written");
    let named = environment(&[("CHAMBERLAIN_CONFIG", &elsewhere.display().to_string())]);
    assert_eq!(load(&flags, &named).expect("makes sense").config.node, "elsewhere");

    std::fs::write(&inside, "data = \"x\"\n").expect("written");
    let problems = load(&flags, &[]).expect_err("refused");
    assert!(problems[0].said.contains("cannot say where the data folder is"), "{problems:?}");
}

#[test]
fn limits_and_lists_come_from_everywhere() {
    let variables = [("CHAMBERLAIN_LIMITS__SOCKETS", "7"), ("CHAMBERLAIN_AUTH__ADMINS", "ada, bob")];
    let loaded = load_text("[limits]\nhello_ms = 1_000\n", &variables).expect("makes sense");
    assert_eq!((loaded.config.limits.sockets, loaded.config.limits.hello_ms), (7, 1_000));
    let admins: Vec<_> = loaded.config.sign_in.admins.iter().map(AccountId::as_str).collect();
    assert_eq!(admins, ["ada", "bob"]);
}

#[test]
fn paths_in_a_file_start_beside_it_and_the_secrets_come_from_the_environment() {
    let text =
        "[auth]\nmode = \"jwt\"\njwks_file = \"keys.json\"\naudience = \"chat\"\n[master_key]\nfile = \"m.key\"\n";
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.toml");
    std::fs::write(&file, text).expect("written");
    let loaded = load(&Flags { config: Some(file), ..Flags::default() }, &[]).expect("makes sense");
    let SignInMode::Jwt(rules) = loaded.config.sign_in.mode else { panic!("not jwt") };
    let KeySource::JwksFile(path) = rules.key else { panic!("not a JWKS") };
    assert_eq!(path, folder.path().join("keys.json"));
    assert!(matches!(loaded.config.master_key, MasterKeySource::File(path) if path == folder.path().join("m.key")));

    let key = "5e".repeat(32);
    let loaded = load_text("", &[("CHAMBERLAIN_MASTER_KEY", &key)]).expect("makes sense");
    assert!(matches!(&loaded.config.master_key, MasterKeySource::Text(text) if **text == key));
    assert!(!format!("{loaded:?}{}", print(&loaded.settings)).contains("5e5e"));
}

#[test]
fn variables_that_are_not_configuration_are_left_alone() {
    let variables = [
        ("CHAMBERLAIN_SERVICE_HOST", "10.0.0.1"),
        ("CHAMBERLAIN_SERVICE_PORT_HTTP", "80"),
        ("CHAMBERLAIN_PORT", "tcp://10.0.0.1:80"),
        ("CHAMBERLAIN_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("CHAMBERLAIN_SOAK", "60"),
        ("CHAMBERLAIN_TOKEN", "t"),
        ("CHAMBERLAIN_URL", "http://localhost"),
    ];
    assert!(load_text("", &variables).is_ok());
}

const JWT: &str = "[auth]\nmode = \"jwt\"\n";

/// A file, variables, and what each refusal must say: the field, and what to do.
type Refusal<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);

#[test]
fn every_configuration_that_makes_no_sense_is_refused_with_what_to_do() {
    let secret = "s".repeat(32);
    let table: &[Refusal<'_>] = &[
        ("listne = 1", &[], &["listne", "did you mean listen?"]),
        ("[limits]\nroom_member = 1", &[], &["limits.room_member", "did you mean limits.room_members?"]),
        ("jwks_file = \"a\"", &[], &["did you mean auth.jwks_file?"]),
        ("zebra = 1", &[], &["zebra", "config print"]),
        ("auth = \"jwt\"", &[], &["is a section: write its keys below [auth]"]),
        ("", &[("CHAMBERLAIN_LISTNE", "x")], &["environment CHAMBERLAIN_LISTNE", "did you mean listen?"]),
        ("", &[("CHAMBERLAIN_AUTH_MODE", "jwt")], &["did you mean auth.mode?"]),
        ("listen = 7300", &[], &["listen", "must be text"]),
        ("listen = \"7300\"", &[], &["ADDRESS:PORT"]),
        ("listen = \"example.org:80\"", &[], &["ADDRESS:PORT"]),
        ("data = \"\"", &[], &["data", "is empty"]),
        ("site = \"Main\"", &[], &["site", "1 to 32 characters"]),
        ("node = \"a b\"", &[], &["node", "1 to 64 characters"]),
        ("public_url = \"chat.example.org\"", &[], &["https://HOST"]),
        ("public_url = \"https://chat.example.org/chat\"", &[], &["without a path"]),
        ("allowed_origins = [\"*\"]", &[], &["allowed_origins", "there is no wildcard"]),
        ("allowed_hosts = [\"*.example.org\"]", &[], &["allowed_hosts", "there is no wildcard"]),
        ("allowed_hosts = [\"example.org:443\"]", &[], &["allowed_hosts", "without a port"]),
        ("allowed_hosts = [1]", &[], &["must be a list of texts"]),
        ("[tls]\ncert = \"a.pem\"", &[], &["tls.key", "must be set with tls.cert"]),
        ("[tls]\nkey = \"a.pem\"", &[], &["tls.cert", "must be set with tls.key"]),
        ("[limits]\nsockets = 0", &[], &["limits.sockets", "must be 1 to 10000000"]),
        ("[limits]\nsockets = -1", &[], &["limits.sockets", "must be 1 to 10000000"]),
        ("[limits]\nsockets = 1.5", &[], &["limits.sockets", "a number with a fraction"]),
        ("[limits]\nsockets = 99999999999", &[], &["limits.sockets"]),
        ("", &[("CHAMBERLAIN_LIMITS__SOCKETS", "lots")], &["limits.sockets", "whole number"]),
        ("[limits]\nping_ms = 600000", &[], &["limits.dead_ms", "ping_ms"]),
        ("[limits]\nretry_first_ms = 60000", &[], &["limits.retry_most_ms", "limits.command_deadline_ms"]),
        ("[limits]\nmessage_bytes = 65536", &[], &["limits.frame_in_bytes", "message_bytes"]),
        ("[keys]\nretain = \"some\"", &[], &["keys.retain", "\"all\" or \"grace\""]),
        ("[keys]\ngrace_hours = 0", &[], &["keys.grace_hours", "1 to 8760"]),
        ("[logging]\nformat = \"xml\"", &[], &["logging.format", "\"text\" or \"json\""]),
        ("[logging]\nlevel = \"loud\"", &[], &["logging.level"]),
        ("[auth]\nmode = \"none\"", &[], &["auth.mode", "\"development\" or \"jwt\""]),
        ("[auth]\nadmins = [\"Ada\"]", &[], &["auth.admins", "\"Ada\""]),
        ("[auth]\nadmins = [\"chamberlain-admin@local\"]", &[], &["only the server itself"]),
        ("[auth]\nleeway_s = 601", &[], &["auth.leeway_s", "0 to 600"]),
        ("[auth]\nprovision = \"maybe\"", &[], &["auth.provision", "true or false"]),
        (JWT, &[], &["auth.mode", "auth.hmac_secret, auth.hmac_secret_file, auth.public_key_file, auth.jwks_file"]),
        (JWT, &[("CHAMBERLAIN_AUTH__HMAC_SECRET", "short")], &["auth.hmac_secret", "32 or more", "openssl rand"]),
        ("[auth]\nmode = \"jwt\"\nhmac_secret = \"x\"", &[], &["set CHAMBERLAIN_AUTH__HMAC_SECRET"]),
        ("[auth]\nmode = \"jwt\"\njwks_file = \"k\"", &[], &["auth.audience", "another service"]),
        ("[auth]\nmode = \"jwt\"\npublic_key_file = \"k\"\naudience = \" \"", &[], &["auth.audience", "is blank"]),
        (
            "[auth]\nmode = \"jwt\"\njwks_file = \"k\"\naudience = \"a\"",
            &[("CHAMBERLAIN_AUTH__HMAC_SECRET", &secret)],
            &["one key source is enough"],
        ),
        ("[auth]\njwks_file = \"k\"", &[], &["auth.jwks_file", "nothing is verified", "auth.mode = \"jwt\""]),
        ("[auth]\naudience = \"a\"", &[], &["auth.audience", "nothing is verified"]),
        ("[master_key]\nvalue = \"x\"", &[], &["set CHAMBERLAIN_MASTER_KEY"]),
        ("[master_key]\nfile = \"k\"", &[("CHAMBERLAIN_MASTER_KEY", "x")], &["one of them is enough"]),
        ("listen = \"0.0.0.0:7300\"", &[], &["listen", "under any name", "auth.mode = \"jwt\"", "public_url"]),
        ("listen = \"[::]:7300\"\npublic_url = \"https://a.example\"", &[], &["under any name"]),
        ("listen = \"10.0.0.1:7300\"\npublic_url = \"https://a.example\"", &[], &["under any name"]),
        (
            "listen = \"0.0.0.0:7300\"\n[auth]\nmode = \"jwt\"",
            &[("CHAMBERLAIN_AUTH__HMAC_SECRET", &secret)],
            &["public_url", "https://chat.example.org"],
        ),
        ("log = \"nats://a:1\"", &[], &["vault", "must be set with log"]),
        ("vault = \"valkey://a:1\"", &[], &["log", "must be set with vault"]),
        (SERVERS, &[], &["master_key.file", "one master key", "nats.system_user", "promised"]),
        ("log = \"http://a\"\nvault = \"valkey://a\"", &[], &["log", "nats://HOST:PORT"]),
        ("log = \"nats://me:horse@a\"\nvault = \"valkey://a\"", &[], &["log", "[nats]"]),
        ("log = \"nats://a\"\nvault = \"valkey://me:horse@a\"", &[], &["vault", "[valkey]"]),
        ("[nats]\nuser = \"me\"", &[], &["nats.user", "in the data folder"]),
        ("[nats]\nreplicas = 0", &[], &["nats.replicas", "1 to 5"]),
        ("[valkey]\npassword = \"horse\"", &[], &["set CHAMBERLAIN_VALKEY__PASSWORD"]),
        ("[limits]\nsilent_ms = 500", &[], &["silent_ms", "3000"]),
        ("listen = ", &[], &["configuration", "line 1"]),
        ("site = \"a\"\nsite = \"b\"", &[], &["configuration", "line 2"]),
    ];
    for (text, variables, said) in table {
        let words = refused(text, variables);
        for part in *said {
            assert!(words.contains(part), "{text:?} {variables:?} was refused with\n{words}\nwhich lacks {part:?}");
        }
    }
}

#[test]
fn with_signed_tokens_it_may_listen_to_everybody() {
    let secret = "s".repeat(32);
    let text = "listen = \"0.0.0.0:7300\"\npublic_url = \"https://Chat.example.org/\"\n[auth]\nmode = \"jwt\"";
    let loaded = load_text(text, &[("CHAMBERLAIN_AUTH__HMAC_SECRET", &secret)]).expect("makes sense");
    assert_eq!(loaded.config.public_url.as_deref(), Some("https://chat.example.org"));
    assert!(!format!("{loaded:?}{}", print(&loaded.settings)).contains(&secret));
}

#[test]
fn development_by_flag_overrides_signed_tokens_on_loopback_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.toml");
    std::fs::write(&file, "[auth]\nmode = \"jwt\"\njwks_file = \"k\"\naudience = \"a\"\n").expect("written");
    let flags = Flags { config: Some(file), dev: true, ..Flags::default() };
    let loaded = load(&flags, &[]).expect("makes sense");
    assert!(matches!(loaded.config.sign_in.mode, SignInMode::Development));
    let problems = load(&Flags { listen: Some("0.0.0.0:1".into()), ..flags }, &[]).expect_err("refused");
    assert!(problems.iter().any(|problem| problem.key == "listen"), "{problems:?}");
}

#[test]
fn all_problems_are_told_at_once() {
    let problems = load_text("listen = \"x\"\nsite = \"X\"\n[logging]\nlevel = \"loud\"\n", &[]).expect_err("refused");
    let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["listen", "site", "logging.level"]);
}

#[test]
fn a_syntax_error_does_not_show_the_line() {
    let words = refused("node = \"fine\"\nhmac = 'very-secret\n", &[]);
    assert!(words.contains("line 2") && !words.contains("very-secret"), "{words}");
}

#[test]
fn a_missing_file_is_refused_by_name() {
    let flags = Flags { config: Some(PathBuf::from("nowhere/a.toml")), ..Flags::default() };
    let problems = load(&flags, &[]).expect_err("refused");
    assert_eq!(problems[0].origin, Origin::File(Path::new("nowhere/a.toml").into()));
    assert!(problems[0].said.contains("cannot be read"), "{problems:?}");
}

#[test]
fn what_is_printed_is_read_back_as_the_same() {
    let text = "allowed_hosts = [\"a.example\", \"b.example\"]\n[limits]\nsockets = 9\n[auth]\nadmins = [\"ada\"]\n";
    let loaded = load_text(text, &[]).expect("makes sense");
    let printed = print(&loaded.settings);
    let again = load_text(&printed, &[]).unwrap_or_else(|problems| panic!("{problems:?}\n{printed}"));
    assert_eq!(again.config.limits, loaded.config.limits);
    assert_eq!(again.config.allowed_hosts, loaded.config.allowed_hosts);
    assert_eq!(again.config.sign_in.admins, loaded.config.sign_in.admins);
    assert!(printed.contains("# default") && printed.contains("# file"), "{printed}");
}

const SERVERS: &str = "log = \"nats://a:1, tls://b:2\"\nvault = \"valkeys://c:3\"";

#[test]
fn servers_are_named_with_their_users_and_without_passwords() {
    let text =
        format!("{SERVERS}\n[nats]\nuser = \"me\"\nsystem_user = \"sys\"\n[valkey]\npassword_file = \"secret\"\n");
    let variables = [("CHAMBERLAIN_MASTER_KEY", "x"), ("CHAMBERLAIN_NATS__PASSWORD", "horse")];
    let loaded = load_text(&text, &variables).expect("makes sense");
    let servers = loaded.config.servers.clone().expect("configured");
    assert_eq!(servers.nats.addresses, ["nats://a:1", "tls://b:2"]);
    assert_eq!((servers.nats.replicas, servers.valkey.lax), (3, false));
    assert!(matches!(servers.valkey.password, Some(Password::File(_))));
    assert!(matches!(&servers.nats.syncing, Syncing::Asked { user, password: None } if user == "sys"));
    assert!(!format!("{:?} {}", loaded.config, print(&loaded.settings)).contains("horse"));
}

#[test]
fn subjects_have_an_address_a_user_and_a_password_that_is_in_no_file() {
    let text = "[subjects]\nurl = \"nats://127.0.0.1:4222\"\nuser = \"chamberlain\"\n";
    let Loaded { config, settings } =
        load_text(text, &[("CHAMBERLAIN_SUBJECTS__PASSWORD", "hush")]).expect("makes sense");
    let subjects = config.subjects.expect("configured");
    assert_eq!(subjects.servers, ["nats://127.0.0.1:4222"]);
    assert_eq!(subjects.service.expect("a user").user, "chamberlain");
    assert!(subjects.peers.is_none() && !print(&settings).contains("hush"));
    assert!(bare(&Flags::default()).config.subjects.is_none());
    for (text, variables, said) in [
        ("[subjects]\nurl = \"http://x\"\n", &[][..], "subjects.url"),
        ("[subjects]\nurl = \"nats://a:b@x\"\n", &[], "holds a user"),
        ("[subjects]\nurl = \"nats://x\"\nuser = \"a\"\n", &[], "a password"),
        ("[subjects]\nurl = \"nats://x\"\npassword_file = \"p\"\n", &[], "with its password"),
        ("[subjects]\nurl = \"nats://x\"\npassword = \"p\"\n", &[], "CHAMBERLAIN_SUBJECTS__PASSWORD"),
        ("[subjects]\nuser = \"a\"\n", &[], "subjects.url is not"),
        (
            "[subjects]\nurl = \"nats://x\"\npeer_user = \"a\"\npeer_password_file = \"p\"\n",
            &[("CHAMBERLAIN_SUBJECTS__PEER_PASSWORD", "hush")],
            "one of them is enough",
        ),
    ] {
        let problems = refused(text, variables);
        assert!(problems.contains(said) && !problems.contains("hush"), "{text}: {problems}");
    }
}

#[test]
fn the_example_for_production_makes_sense() {
    let text = include_str!("../../deploy/production.toml");
    let Loaded { config, .. } = load_text(text, &[]).expect("makes sense");
    assert_eq!((config.site.as_str(), config.node.as_str()), ("home", "node-1"));
    assert!(matches!(config.sign_in.mode, SignInMode::Jwt(_)));
    assert!(matches!(config.master_key, MasterKeySource::File(_)));
    assert_eq!(config.servers.expect("on servers").nats.addresses.len(), 3);
    // The other node's file differs by its environment alone.
    let Loaded { config, .. } = load_text(text, &[("CHAMBERLAIN_NODE", "node-2")]).expect("makes sense");
    assert_eq!(config.node, "node-2");
}
