//! Another implementation opens what we seal, and we open what it seals.
//!
//! The other one is `tests/interop/envelope.mjs`: JavaScript, HPKE by `@hpke/core`, AES-GCM by WebCrypto. It checks both
//! files of test vectors, too. Needs `node` (20 or later) and, the first time, `npm` and its registry; it fails without
//! them, and never skips.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use chamberlain_core::id::{AccountId, KeyVersion, MessageId, RoomId, SiteId};
use chamberlain_core::keys::{BodyKind, Claim, Envelope, Opener, RoomSecret, Sealer};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use serde::{Deserialize, Serialize};

const ROOMS: u8 = 4;
const SAID_PER_ROOM: usize = 8;

/// What both sides are told of an envelope; the names of the fields are the script's.
#[derive(Clone, Serialize)]
struct Said {
    site: SiteId,
    room: RoomId,
    version: KeyVersion,
    kind: BodyKind,
    sender: AccountId,
    message: MessageId,
    edit: u32,
    secret: String,
    public: String,
    plaintext: String,
    envelope: Option<Envelope>,
}

#[derive(Serialize)]
struct Asked {
    open: Vec<Said>,
    seal: Vec<Said>,
}

#[derive(Deserialize)]
struct Answer {
    vectors: usize,
    opened: usize,
    sealed: Vec<Envelope>,
}

#[test]
fn another_implementation_opens_what_we_seal_and_seals_what_we_open() {
    let mut rng = ChaCha20Rng::from_seed([42; 32]);
    let mut asked = Asked { open: Vec::new(), seal: Vec::new() };
    let mut openers = Vec::new();
    for n in 0..ROOMS {
        let site: SiteId = format!("site-{n}").parse().expect("valid");
        let room = RoomId::from_digest(&[n; 32]);
        let version = KeyVersion(rng.next_u32());
        let secret = RoomSecret::generate(&mut rng);
        let mut sealer = Sealer::new(&site, room, version, &secret.public(), &mut rng).expect("a key");
        for i in 0..SAID_PER_ROOM {
            let mut body = vec![0; i * 37];
            rng.fill_bytes(&mut body);
            let mut digest = [0; 32];
            rng.fill_bytes(&mut digest);
            let sender: AccountId = format!("ada.{i}+x@corp").parse().expect("valid");
            let message = MessageId::from_digest(&digest);
            let kind = if i % 2 == 0 { BodyKind::Message } else { BodyKind::System };
            let claim = Claim { room, version, kind, sender: &sender, message, edit: rng.next_u32() };
            let envelope = sealer.seal(&claim, &body).expect("seals");
            let edit = claim.edit;
            let (secret, public) = (hex(&secret.to_bytes()[..]), hex(secret.public().as_bytes()));
            let (site, plaintext, envelope) = (site.clone(), hex(&body), Some(envelope));
            let said = Said { site, room, version, kind, sender, message, edit, secret, public, plaintext, envelope };
            asked.seal.push(Said { envelope: None, ..said.clone() });
            asked.open.push(said);
        }
        openers.push(Opener::new(&site, room, version, secret, 1));
    }

    let answer = ask(&asked);

    assert!(answer.vectors >= 6, "the script checked {} vectors", answer.vectors);
    assert_eq!(answer.opened, asked.open.len());
    assert_eq!(answer.sealed.len(), asked.seal.len());
    for (n, (said, envelope)) in asked.seal.iter().zip(&answer.sealed).enumerate() {
        let Said { room, version, kind, sender, message, edit, .. } = said;
        let claim = Claim { room: *room, version: *version, kind: *kind, sender, message: *message, edit: *edit };
        let plaintext = openers[n / SAID_PER_ROOM].open(&claim, envelope).expect("authentic");
        assert_eq!(hex(&plaintext), said.plaintext);
    }
}

/// Runs the script with the question on its standard input.
fn ask(asked: &Asked) -> Answer {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
    // The file that npm writes last: a folder without it is an installation that was interrupted.
    if !folder.join("node_modules/.package-lock.json").is_file() {
        let installed = Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund"])
            .current_dir(&folder)
            .output()
            .unwrap_or_else(|error| panic!("npm could not be run ({error}); this test needs Node.js 20 with npm"));
        let errors = String::from_utf8_lossy(&installed.stderr);
        assert!(installed.status.success(), "`npm ci` failed in core/tests/interop:\n{errors}");
    }
    let mut node = Command::new("node")
        .arg("envelope.mjs")
        .current_dir(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("node could not be run ({error}); this test needs Node.js 20"));
    let mut stdin = node.stdin.take().expect("piped");
    // A script that fails early closes its input; what it says on its standard error tells more than that.
    let question = serde_json::to_vec(asked).expect("serializes");
    let _ = stdin.write_all(&question);
    drop(stdin);
    let answered = node.wait_with_output().expect("node was started");
    let errors = String::from_utf8_lossy(&answered.stderr);
    assert!(answered.status.success(), "the other implementation disagrees:\n{errors}");
    serde_json::from_slice(&answered.stdout).expect("the script's answer")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
