//! A tape of random operations, played to a server and to something that stands for what it should say: each answer is the
//! same.

use chamberlain_core::id::{AccountId, KeyVersion, LogId, Revision};
use chamberlain_stores::{Account, Group, Pending, Snapshot, StoreError, Stores};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::opening::{room, secret};

const OPERATIONS: u64 = 4_000;
const OPERATIONS_IN_SOAK: u64 = 100_000;

/// How many operations a tape has.
pub(crate) fn operations() -> u64 {
    if std::env::var_os("CHAMBERLAIN_SOAK").is_some() { OPERATIONS_IN_SOAK } else { OPERATIONS }
}

/// What is drawn, and the two to which it is played.
pub(crate) struct Tape {
    draw: ChaCha8Rng,
    real: Stores,
    model: Stores,
}

impl Tape {
    /// A tape of the seed that `CHAMBERLAIN_SEED` says.
    pub(crate) fn new(real: Stores, model: Stores) -> Self {
        let seed = std::env::var("CHAMBERLAIN_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
        eprintln!("seed {seed}");
        Self { draw: ChaCha8Rng::seed_from_u64(seed), real, model }
    }

    /// Plays so many operations; each is answered alike by both.
    pub(crate) async fn play(mut self, operations: u64) {
        for nth in 0..operations {
            self.step(nth).await;
        }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.draw.next_u64() % end
    }

    /// Small numbers mostly, so that operations meet; sometimes those at which arithmetic goes wrong.
    fn value(&mut self) -> u64 {
        match self.below(8) {
            0 => u64::MAX - self.below(3),
            1 => (1 << 53) + self.below(4),
            2 => self.draw.next_u64(),
            _ => self.below(120),
        }
    }

    fn log(&mut self) -> LogId {
        match self.below(2) {
            0 => LogId::Room(room(self.below(4) as u8)),
            _ => LogId::Account(self.account_id()),
        }
    }

    fn account_id(&mut self) -> AccountId {
        let names = ["ada", "ada.b", "ada-b", "ada@b", "ada+b", "ada_b", "0", "9z", "bob", "bob2", "bo", "zoe"];
        names[self.below(12) as usize].parse().expect("an account")
    }

    fn account(&mut self) -> Account {
        let site = if self.below(8) == 0 { "away" } else { "home" };
        let local = ["艾达", "line\nbreak", "quote\"", ""][self.below(4) as usize];
        Account {
            account: self.account_id(),
            site: site.parse().expect("a site"),
            name: format!("name {}", self.below(9)),
            local_name: (self.below(2) == 0).then(|| local.to_owned()),
            bot: self.below(2) == 0,
            disabled: self.below(2) == 0,
            section: (self.below(2) == 0).then(|| Group { id: "s".into(), name: local.to_owned() }),
            department: None,
            admin: self.below(2) == 0,
        }
    }

    fn mark_name(&mut self) -> String {
        match self.below(40) {
            0 => String::new(),
            1 => "x".repeat(300),
            2 => "odd \r\n\0 ß".to_owned(),
            nth => format!("mark/{}", nth % 12),
        }
    }

    async fn step(&mut self, nth: u64) {
        let count = self.below(5);
        match self.below(10) {
            0 | 1 => {
                let (room, version, secret) =
                    (room(self.below(4) as u8), KeyVersion(self.below(40) as u32), secret(self.below(1_000)));
                self.both(nth, |stores| stores.vault.put_if_absent(room, version, &secret)).await;
            }
            2 => {
                let (room, version) = (room(self.below(4) as u8), KeyVersion(self.below(40) as u32));
                self.both(nth, |stores| stores.vault.get(room, version)).await;
            }
            3 => {
                let room = room(self.below(4) as u8);
                let versions: Vec<_> = (0..count * 2).map(|_| KeyVersion(self.below(40) as u32)).collect();
                self.both(nth, |stores| stores.vault.get_many(room, &versions)).await;
            }
            4 if count == 0 => {
                let (room, version) = (room(self.below(4) as u8), KeyVersion(self.below(40) as u32));
                self.both(nth, |stores| stores.vault.destroy(room, version)).await;
            }
            4 => {
                let (log, revision) = (self.log(), Revision(self.value()));
                let bytes = vec![self.below(256) as u8; self.below(3_000) as usize];
                let snapshot = Snapshot { revision, bytes: bytes.into() };
                self.both(nth, |stores| stores.snapshots.put(&log, snapshot.clone())).await;
            }
            5 => {
                let log = self.log();
                self.both(nth, |stores| stores.snapshots.latest(&log)).await;
            }
            6 => {
                let marks: Vec<_> = (0..count).map(|_| (self.mark_name(), self.value())).collect();
                self.both(nth, |stores| stores.marks.raise(&marks)).await;
            }
            7 => {
                let names: Vec<_> = (0..count * 2).map(|_| self.mark_name()).collect();
                self.both(nth, |stores| stores.marks.get(&names)).await;
            }
            8 => {
                let accounts: Vec<_> = (0..count).map(|_| self.account()).collect();
                self.both(nth, |stores| stores.directory.put(&accounts)).await;
            }
            _ if count < 3 => {
                let ids: Vec<_> = (0..count * 2).map(|_| self.account_id()).collect();
                self.both(nth, |stores| stores.directory.get(&ids)).await;
            }
            _ => {
                let after = (self.below(2) == 0).then(|| self.account_id());
                let limit = self.below(14) as usize;
                self.both(nth, |stores| stores.directory.list(after.as_ref(), limit)).await;
            }
        }
    }

    /// Has both do the same, and compares what they say.
    async fn both<'a, T: PartialEq + std::fmt::Debug>(&'a self, nth: u64, act: impl Fn(&'a Stores) -> Pending<'a, T>) {
        let (real, model) = (act(&self.real).await, act(&self.model).await);
        match (&real, &model) {
            // Two batches of accounts may be refused for different ones of them.
            (Err(StoreError::Invalid(_)), Err(StoreError::Invalid(_))) => {}
            _ => assert_eq!(real, model, "operation {nth}"),
        }
    }
}
