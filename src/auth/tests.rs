//! Tokens that are taken, and tokens that are not.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::*;
use crate::config::{JwtRules, KeySource};

const SECRET: &str = "a secret of thirty-two bytes, and more";
const NOW_S: u64 = 1_800_000_000;
const NOW: Timestamp = Timestamp(NOW_S * 1_000);

fn rules(key: KeySource) -> JwtRules {
    JwtRules {
        key,
        audience: Some("chat".into()),
        issuer: Some("https://id.example".into()),
        account_claim: "sub".into(),
        name_claim: "name".into(),
        admin_claim: Some("chat_admin".into()),
        leeway_s: 30,
    }
}

fn secret() -> KeySource {
    KeySource::Secret(Zeroizing::new(SECRET.into()))
}

fn local() -> Arc<LocalAdmin> {
    Arc::new(LocalAdmin::new(&"local".parse().unwrap()).unwrap())
}

fn verifier(key: KeySource) -> Verifier {
    let sign_in = SignIn { mode: SignInMode::Jwt(rules(key)), admins: vec!["root".parse().unwrap()], provision: true };
    Verifier::new(&sign_in, local()).unwrap()
}

fn development() -> Verifier {
    let sign_in = SignIn { mode: SignInMode::Development, admins: Vec::new(), provision: true };
    Verifier::new(&sign_in, local()).unwrap()
}

fn good() -> Value {
    json!({"sub": "ada", "name": "Ada", "aud": "chat", "iss": "https://id.example", "exp": NOW_S + 60})
}

/// The good claims with one of them changed; null takes it away.
fn with(claim: &str, value: Value) -> Value {
    let mut claims = good();
    let map = claims.as_object_mut().unwrap();
    match value {
        Value::Null => drop(map.remove(claim)),
        value => drop(map.insert(claim.into(), value)),
    }
    claims
}

fn signed(algorithm: Algorithm, claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// A token with this header, signed with these bytes.
fn raw(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    format!("{}.{}.{}", part(header.to_string().as_bytes()), part(claims.to_string().as_bytes()), part(signature))
}

fn refusal(verifier: &Verifier, token: &str) -> String {
    let error = verifier.authenticate(token, NOW).expect_err("refused");
    let words = format!("{error} {error:?}");
    for part in token.split('.').filter(|part| part.len() > 8) {
        assert!(!words.contains(part), "the refusal repeats the token: {words}");
    }
    words
}

#[test]
fn a_good_token_says_who_it_is() {
    let verifier = verifier(secret());
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let who = verifier.authenticate(&signed(algorithm, &good()), NOW).expect("taken");
        assert_eq!((who.account.as_str(), who.name.as_deref(), who.admin), ("ada", Some("Ada"), false));
        // The socket ends when the token would be refused.
        assert_eq!(who.expires, Some(Timestamp((NOW_S + 90) * 1_000)));
    }
    assert_eq!((verifier.sign_in(), verifier.provision()), ("token", true));
}

#[test]
fn claims_are_taken_or_refused() {
    let verifier = verifier(secret());
    let admin = |claims: Value| verifier.authenticate(&signed(Algorithm::HS256, &claims), NOW).expect("taken").admin;
    assert!(admin(with("chat_admin", json!(true))) && admin(with("sub", json!("root"))));
    assert!(!admin(with("chat_admin", json!("true"))) && !admin(with("chat_admin", json!(1))));
    for (claim, value) in [
        ("exp", json!(NOW_S - 29)),
        ("exp", json!(NOW_S as f64 + 0.5)),
        ("nbf", json!(NOW_S + 30)),
        ("aud", json!(["mail", "chat"])),
        ("name", json!(7)),
        ("extra", json!({"deep": [1]})),
    ] {
        let token = signed(Algorithm::HS256, &with(claim, value.clone()));
        assert!(verifier.authenticate(&token, NOW).is_ok(), "{claim} = {value}");
    }
    for (claim, value, says) in [
        ("exp", json!(NOW_S - 30), "Expired"),
        ("exp", json!(0), "Expired"),
        ("exp", Value::Null, "no exp"),
        ("exp", json!("tomorrow"), "exp"),
        ("exp", json!(-1), "exp"),
        ("nbf", json!(NOW_S + 31), "nbf"),
        ("nbf", json!("now"), "nbf"),
        ("aud", json!("mail"), "aud"),
        ("aud", json!(["mail"]), "aud"),
        ("aud", json!({"chat": true}), "aud"),
        ("aud", Value::Null, "aud"),
        ("iss", json!("https://evil.example"), "iss"),
        ("iss", json!(["https://id.example"]), "iss"),
        ("iss", Value::Null, "iss"),
        ("sub", Value::Null, "sub"),
        ("sub", json!(7), "sub"),
        ("sub", json!("Ada Lovelace"), "sub"),
        ("sub", json!(""), "sub"),
        ("sub", json!("chamberlain-admin@local"), "reserved"),
    ] {
        let words = refusal(&verifier, &signed(Algorithm::HS256, &with(claim, value.clone())));
        assert!(words.contains(says), "{claim} = {value}: {words}");
    }
}

#[test]
fn signatures_that_do_not_hold_are_refused() {
    let verifier = verifier(secret());
    let token = signed(Algorithm::HS256, &good());
    let (body, signature) = token.rsplit_once('.').unwrap();
    let other = signed(Algorithm::HS256, &with("sub", json!("bob")));
    let (other_body, _) = other.rsplit_once('.').unwrap();
    let foreign = encode(&Header::default(), &good(), &EncodingKey::from_secret(&[7; 40])).unwrap();
    for bad in [format!("{body}."), format!("{body}.AAAA"), format!("{other_body}.{signature}"), foreign] {
        assert!(refusal(&verifier, &bad).contains("signature"), "{bad}");
    }
    for bad in ["", "ada", "a.b", "a.b.c", "....", &"x".repeat(20_000), &format!("{token}.x"), &format!(" {token}")] {
        refusal(&verifier, bad);
    }
}

#[test]
fn no_algorithm_and_no_confusion_of_algorithms() {
    let hmac = verifier(secret());
    for none in ["none", "None", "NONE", ""] {
        for signature in [&b""[..], b"x"] {
            refusal(&hmac, &raw(&json!({"alg": none, "typ": "JWT"}), &good(), signature));
        }
    }
    refusal(&hmac, &raw(&json!({"typ": "JWT"}), &good(), b""));
    let critical = {
        let header = Header { crit: Some(vec!["exp".into()]), ..Header::default() };
        encode(&header, &good(), &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
    };
    assert!(refusal(&hmac, &critical).contains("crit"));

    // The public key taken for a secret: the classic.
    let folder = tempfile::tempdir().unwrap();
    for pem in [RSA_PUBLIC, EC_PUBLIC, ED_PUBLIC] {
        let file = folder.path().join("public.pem");
        std::fs::write(&file, pem).unwrap();
        let public = verifier(KeySource::PublicKeyFile(file));
        for secret in [pem.as_bytes(), pem.trim().as_bytes(), SECRET.as_bytes()] {
            let token = encode(&Header::default(), &good(), &EncodingKey::from_secret(secret)).unwrap();
            assert!(refusal(&public, &token).contains("algorithm"));
        }
    }
}

#[test]
fn each_public_key_takes_the_algorithms_of_its_kind_alone() {
    let folder = tempfile::tempdir().unwrap();
    let all =
        [Algorithm::RS256, Algorithm::PS512, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA, Algorithm::HS256];
    let table: [(&str, &[Algorithm]); 4] = [
        (RSA_PUBLIC, &[Algorithm::RS256, Algorithm::PS512]),
        (EC_PUBLIC, &[Algorithm::ES256]),
        (EC384_PUBLIC, &[Algorithm::ES384]),
        (ED_PUBLIC, &[Algorithm::EdDSA]),
    ];
    for (nth, (pem, own)) in table.into_iter().enumerate() {
        let file = folder.path().join(format!("{nth}.pem"));
        std::fs::write(&file, pem).unwrap();
        let verifier = verifier(KeySource::PublicKeyFile(file));
        for algorithm in all {
            let token = raw(&json!({"alg": algorithm}), &good(), &[1; 64]);
            let says = if own.contains(&algorithm) { "signature" } else { "algorithm" };
            assert!(refusal(&verifier, &token).contains(says), "{algorithm:?}");
        }
    }
}

#[test]
fn files_that_hold_no_public_key_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.pem");
    let marker = |name: &str| format!("-----BEGIN {name}-----\nAAAA\n-----END {name}-----\n");
    for (text, says) in [
        (String::new(), "PUBLIC KEY"),
        (marker("PUBLIC KEY"), "malformed"),
        (marker(concat!("PRIVATE", " KEY")), "openssl pkey"),
        (marker("RSA PUBLIC KEY"), "openssl rsa"),
        (marker("CERTIFICATE"), "openssl x509"),
        (RSA1024_PUBLIC.to_owned(), "2048 bits"),
    ] {
        std::fs::write(&file, text).unwrap();
        let Err(error) = keys_of(KeySource::PublicKeyFile(file.clone())) else { panic!("taken: {says}") };
        assert!(error.to_string().contains(says), "{error}");
        assert!(error.to_string().starts_with("auth.public_key_file"), "{error}");
    }
    std::fs::write(&file, "short\n").unwrap();
    assert!(keys_of(KeySource::SecretFile(file.clone())).is_err_and(|error| error.to_string().contains("32 or more")));
    std::fs::write(&file, "{\"keys\":[]}").unwrap();
    assert!(keys_of(KeySource::JwksFile(file.clone())).is_err());
    assert!(keys_of(KeySource::JwksFile(folder.path().join("absent"))).is_err());
}

fn keys_of(source: KeySource) -> Result<Verifier, KeyError> {
    Verifier::new(&SignIn { mode: SignInMode::Jwt(rules(source)), admins: vec![], provision: true }, local())
}

/// A key pair made for the test, as an entry of a JWKS and as what signs.
fn ed25519(kid: &str) -> (Value, EncodingKey) {
    use jsonwebtoken::jwk::Jwk;
    let der = {
        // PKCS#8 of an Ed25519 key is a fixed prefix and the 32 bytes of its seed.
        let mut der =
            vec![0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
        der.extend(kid.bytes().cycle().take(32));
        der
    };
    let key = EncodingKey::from_ed_der(&der);
    let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&key, Algorithm::EdDSA).unwrap()).unwrap();
    jwk["kid"] = json!(kid);
    (jwk, key)
}

fn by(key: &EncodingKey, kid: Option<&str>) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::EdDSA) };
    encode(&header, &good(), key).unwrap()
}

fn write_jwks(path: &Path, keys: &[&Value]) {
    std::fs::write(path, json!({ "keys": keys }).to_string()).unwrap();
}

#[test]
fn keys_of_a_set_are_found_by_their_names_and_read_again_when_the_file_changes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    let ((one, signs_one), (two, signs_two)) = (ed25519("one"), ed25519("second"));
    let strange = json!({"kty": "XYZ", "kid": "strange"});
    let oct = json!({"kty": "oct", "kid": "oct", "k": BASE64_URL_SAFE_NO_PAD.encode(SECRET)});
    write_jwks(&file, &[&strange, &one, &oct]);
    let verifier = verifier(KeySource::JwksFile(file.clone()));

    assert!(verifier.authenticate(&by(&signs_one, Some("one")), NOW).is_ok());
    assert!(verifier.authenticate(&by(&signs_one, None), NOW).is_ok(), "one key fits");
    assert!(refusal(&verifier, &by(&signs_two, Some("second"))).contains("kid"));
    assert!(refusal(&verifier, &by(&signs_two, Some("one"))).contains("signature"));
    let confused = Header { kid: Some("oct".into()), ..Header::default() };
    let confused = encode(&confused, &good(), &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
    assert!(refusal(&verifier, &confused).contains("kid"), "secrets are not taken from a set of public keys");

    write_jwks(&file, &[&one, &two]);
    let later = Timestamp(NOW.0 + 2_000);
    assert!(verifier.authenticate(&by(&signs_two, Some("second")), later).is_ok());
    let ambiguous = verifier.authenticate(&by(&signs_two, None), later).expect_err("refused");
    assert!(ambiguous.to_string().contains("several keys"), "{ambiguous}");

    std::fs::write(&file, "half a fi").unwrap();
    assert!(
        verifier.authenticate(&by(&signs_two, Some("second")), Timestamp(NOW.0 + 4_000)).is_ok(),
        "the old keys stay"
    );
    write_jwks(&file, &[&two]);
    let gone = verifier.authenticate(&by(&signs_one, Some("one")), Timestamp(NOW.0 + 6_000));
    assert!(gone.expect_err("refused").to_string().contains("kid"));
}

#[test]
fn development_takes_a_name_and_nothing_else() {
    let verifier = development();
    assert_eq!(verifier.authenticate("ada", NOW).unwrap().account.as_str(), "ada");
    let named = verifier.authenticate("ada|  Ada\u{7} Lovelace ", NOW).unwrap();
    assert_eq!((named.name.as_deref(), named.expires, named.admin), (Some("Ada Lovelace"), None, false));
    for bad in ["", "Ada", "|Ada", "a/b", "chamberlain-admin@local", &signed(Algorithm::HS256, &good())] {
        refusal(&verifier, bad);
    }
    assert_eq!(verifier.sign_in(), "development");
}

#[test]
fn the_token_of_the_machine_is_an_administrator_in_every_mode() {
    let admin = local();
    let sign_in = SignIn { mode: SignInMode::Jwt(rules(secret())), admins: vec![], provision: true };
    let of_development = SignIn { mode: SignInMode::Development, ..sign_in.clone() };
    for verifier in [
        Verifier::new(&sign_in, admin.clone()).unwrap(),
        Verifier::new(&of_development, admin.clone()).unwrap(),
        Verifier::local_only(admin.clone()),
    ] {
        let who = verifier.authenticate(&admin.token(), NOW).expect("taken");
        assert_eq!((who.account.as_str(), who.admin), ("chamberlain-admin@local", true));
        let mut wrong = admin.token().to_string();
        wrong.replace_range(6..7, if &wrong[6..7] == "0" { "1" } else { "0" });
        for bad in [wrong.as_str(), "admin/", &admin.token()[..69], &format!("{}0", *admin.token())] {
            assert!(refusal(&verifier, bad).contains("earlier start"));
        }
    }
    refusal(&Verifier::local_only(admin), "ada");
}

#[test]
fn the_token_of_the_machine_lies_in_the_data_folder_while_the_server_runs() {
    let folder = tempfile::tempdir().unwrap();
    let site = "local".parse().unwrap();
    let first = LocalAdmin::publish(&site, folder.path()).unwrap();
    let second = LocalAdmin::publish(&site, folder.path()).unwrap();
    assert_ne!(first.token(), second.token());
    drop(first);
    assert_eq!(read_token(folder.path()).unwrap(), second.token(), "another server's token is left alone");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(folder.path().join("admin.token")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    drop(second);
    assert!(read_token(folder.path()).is_err());
}

#[test]
fn tokens_that_are_made_here_are_taken_here() {
    let rules_of_secret = rules(secret());
    let account: AccountId = "ada".parse().unwrap();
    let ttl = Duration::from_secs(60);
    let token = mint(&rules_of_secret, &account, Some("Ada"), true, ttl, NOW).unwrap();
    let who = verifier(secret()).authenticate(&token, NOW).expect("taken");
    assert_eq!((who.account, who.name.as_deref(), who.admin), (account.clone(), Some("Ada"), true));
    let later = Timestamp(NOW.0 + 91_000);
    assert_eq!(verifier(secret()).authenticate(&token, later), Err(AuthError::Expired));

    let no_claim = JwtRules { admin_claim: None, ..rules_of_secret };
    assert!(matches!(mint(&no_claim, &account, None, true, ttl, NOW), Err(MintError::NoAdminClaim(_))));
    let public = rules(KeySource::JwksFile("k".into()));
    assert!(matches!(mint(&public, &account, None, false, ttl, NOW), Err(MintError::NoSecret)));
}

/// Of a key pair whose private half was thrown away.
const RSA_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAnC+Q/2IRifaCuEfAL4j9
bP2ec1RkDBjWKO+vTSqU8ZDYG71aSNizeQ7qH8M3E+N30ad8FifywbaKL7+rCVIP
UgI7mt4uZYsiomOwKSISkMeNXNYtFPVQdNyC4LG2CtKQAFEWbzMVFB2Bnpgp/L/0
T/Zbkxxae8Ahf9n5fsW2/genmKgNjXVRRiJXuYfNwRSbLP++OoMmtKXDEOqFNeI/
3o+JlctIVTqQEcEGoBjG6gAtZhJx9vCr/XJtIy1LIT9NsMtlvrndSbgD9v4JluMY
jNc/GlaN1FoGLZiPILKa9umBkcvM0S/r+oSfTfUZzlxabIOKdfW6QG5AQctOG/QH
twIDAQAB
-----END PUBLIC KEY-----
";

/// Of a key pair whose private half was thrown away.
const RSA1024_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCpo244ev80gfEL/RJspZqEb3BR
XxZ3CGVBVMY9we+u4k24reL/im1rvI9Cu5ORx5zbQRkGBmEDSrQW/J0j0CSjvvsI
uc43dNKOcTnjvmEDsDuxU31+9N5qbzWjTk0HBZWytlA3em39p9Mn5KWwKAL+ClVR
YZ6fbU6IWlwJ5PJFhQIDAQAB
-----END PUBLIC KEY-----
";

/// Of a key pair whose private half was thrown away.
const EC_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAECk17DLIpH2U36080yPhc6jUSDNFN
epKe/p3ceWsQO4m/FwuMCwlw9XaugQFmnoqWofCBk2Y+PeJDVhVG9xjH6A==
-----END PUBLIC KEY-----
";

/// Of a key pair whose private half was thrown away.
const EC384_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEdcC9/RMmjcRzoX2bsVo5JcavbzpNmSuS
CNAYroj9GzB4HHXFfKJ61s1LrE3S+eA7fozNdolld1wradHsL0msnmODmnFXR3Vu
KIITqfxLEGlrkYs9tSQ4mvq1MEw0kkQ9
-----END PUBLIC KEY-----
";

/// Of a key pair whose private half was thrown away.
const ED_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAazDbEXUMV0ufVk7pXQr0u0h7bqwgvdpLVOuIYV3UeHQ=
-----END PUBLIC KEY-----
";
