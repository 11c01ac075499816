//! Users with few rights, and passwords.

use chamberlain_core::id::KeyVersion;
use chamberlain_stores::valkey::{Address, OpenError, Options, Valkey};
use chamberlain_stores::{KeyVault, PutSecret, conformance};

use super::opening::{master, room, secret, stores};
use super::server::Server;

/// As the module's documentation says.
const RIGHTS: &str = "~chamberlain:* +get +set +del +mget +incr +hget +hset +hmget +hlen +zadd +zcard +zrange \
                      +eval +info +config|get +waitaof +hello +auth +select +client|setinfo +ping";

fn grant(server: &Server, rights: &str) {
    let words: Vec<&str> =
        ["ACL", "SETUSER", "ada", "reset", "on", ">horse"].into_iter().chain(rights.split(' ')).collect();
    let said = server.ask(&words);
    // An older server does not know every command.
    if said != "+OK" {
        let words: Vec<&str> =
            words.into_iter().filter(|word| *word != "+waitaof" && *word != "+client|setinfo").collect();
        assert_eq!(server.ask(&words), "+OK", "{said}");
    }
}

async fn open_as_ada(server: &Server, options: Options) -> Result<Valkey, OpenError> {
    let address = Address::parse(&server.url()).expect("an address").with_user("ada").with_password("horse");
    Valkey::open(&address, &master(1), &"home".parse().expect("a site"), options).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_that_are_asked_for_suffice() {
    let server = Server::strict();
    grant(&server, RIGHTS);
    let valkey = open_as_ada(&server, Options::default()).await.expect("opened");
    let stores = stores(&valkey);
    conformance::run(async || stores.clone()).await;
}

#[tokio::test]
async fn a_user_who_may_not_ask_is_told_what_to_grant() {
    let server = Server::strict();
    for (withheld, granted) in [("+config|get", "+config|get"), ("+info", "+info")] {
        grant(&server, &RIGHTS.replace(&format!("{withheld} "), ""));
        let why = open_as_ada(&server, Options::default()).await.expect_err("refused");
        assert!(matches!(why, OpenError::Forbidden { grant, .. } if grant == granted), "{why}");
    }
    grant(&server, &RIGHTS.replace("+config|get ", ""));
    let lax = open_as_ada(&server, Options { lax: true, ..Options::default() }).await.expect("insisted");
    assert_eq!(lax.put_if_absent(room(1), KeyVersion(0), &secret(1)).await, Ok(PutSecret::Winner(secret(1))));
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_repeated() {
    let server = Server::strict();
    grant(&server, RIGHTS);
    let address = Address::parse(&server.url()).expect("an address").with_user("ada").with_password("battery");
    let why = Valkey::open(&address, &master(1), &"home".parse().expect("a site"), Options::default())
        .await
        .expect_err("refused");
    assert!(why.to_string().contains("password"), "{why}");
    assert!(!format!("{why} {why:?}").contains("battery"), "{why}");
}
