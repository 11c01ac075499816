//! A disk in memory that behaves as badly as disks may: for tests of what survives.
//!
//! Like a disk behind a page cache: what was written is read back at once, but only a sync makes it last. When the power
//! fails, each unsynced write is kept, lost or torn, by the seed, independently of its neighbours. A sync that fails has
//! written some of it, forgets the rest, and succeeds the next time; the cache goes on showing what was forgotten, until it is
//! dropped. Everything is counted in calls that change something, so that a fault can be put at each of them.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use redb::StorageBackend;

use crate::embedded::Medium;

/// What is written whole or not at all, bytes.
const SECTOR: usize = 512;

/// What goes wrong, and when. Calls count `write`, `set_len` and `sync_data`, from 1, over the disk's whole life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// The power fails in this call.
    pub crash_at: Option<u64>,
    /// This call fails, once.
    pub fail_at: Option<u64>,
    /// The disk holds no more than this many bytes.
    pub capacity: Option<u64>,
}

/// A faulty disk with one file on it. Clones share it.
#[derive(Clone)]
pub struct Disk {
    platter: Arc<Mutex<Platter>>,
}

struct Platter {
    /// What survives.
    durable: Vec<u8>,
    /// What is read.
    cached: Vec<u8>,
    /// What leads from `durable` to `cached`, failed syncs apart.
    unsynced: Vec<Change>,
    faults: Faults,
    calls: u64,
    has_power: bool,
    /// Backends of an earlier life answer nothing.
    life: u64,
    rng: ChaCha8Rng,
}

enum Change {
    Write { offset: usize, data: Vec<u8> },
    Length(usize),
}

impl Disk {
    /// An empty disk without faults. The seed decides what becomes of unsynced writes.
    pub fn new(seed: u64) -> Self {
        let platter = Platter {
            durable: Vec::new(),
            cached: Vec::new(),
            unsynced: Vec::new(),
            faults: Faults::default(),
            calls: 0,
            has_power: true,
            life: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
        };
        Self { platter: Arc::new(Mutex::new(platter)) }
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.platter().faults = faults;
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.platter().calls
    }

    /// Whether the power has failed.
    pub fn has_crashed(&self) -> bool {
        !self.platter().has_power
    }

    /// Cuts the power now.
    pub fn crash(&self) {
        self.platter().crash();
    }

    /// The process that has it open was killed: it writes no more, and what it wrote is in the cache, which survives it.
    pub fn let_go(&self) {
        self.platter().life += 1;
    }

    /// Gives power again, without any fault set: what survived can be opened.
    pub fn power_on(&self) {
        let mut platter = self.platter();
        platter.crash();
        platter.has_power = true;
        platter.faults = Faults::default();
    }

    /// Changes one byte of what is stored, for tests of what notices it.
    pub fn flip(&self, at: usize) {
        let mut platter = self.platter();
        platter.durable[at] ^= 0x40;
        platter.cached[at] ^= 0x40;
    }

    /// What would be read.
    pub fn contents(&self) -> Vec<u8> {
        self.platter().cached.clone()
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.platter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Medium for Disk {
    fn is_new(&self) -> io::Result<bool> {
        let platter = self.platter();
        platter.check_power()?;
        Ok(platter.durable.is_empty())
    }

    /// One call, in which the power may fail before or after the contents appear.
    fn install(&self, contents: &[u8]) -> io::Result<()> {
        let mut platter = self.platter();
        platter.check_space(contents.len())?;
        let before = platter.rng.random_bool(0.5);
        let outcome = platter.change(false);
        if outcome.is_ok() || !before {
            platter.durable = contents.to_vec();
            platter.cached = contents.to_vec();
        }
        outcome
    }

    /// Like a file that is synced and dropped from the cache before it is read.
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        let mut platter = self.platter();
        platter.sync()?;
        platter.cached = platter.durable.clone();
        platter.life += 1;
        Ok(Box::new(Session { disk: self.clone(), life: platter.life }))
    }

    fn name(&self) -> String {
        "a faulty disk".to_owned()
    }
}

impl Platter {
    /// Counts a call, and has go wrong what is to go wrong in it.
    fn change(&mut self, sync: bool) -> io::Result<()> {
        self.check_power()?;
        self.calls += 1;
        if self.faults.crash_at == Some(self.calls) {
            // The call may have come to its end before the power failed.
            if sync && self.rng.random_bool(0.3) {
                self.flush();
            }
            self.crash();
            return self.check_power();
        }
        if self.faults.fail_at == Some(self.calls) {
            if sync {
                self.lose_some();
            }
            return Err(io::Error::other("the disk reported an error"));
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.change(true)?;
        self.flush();
        Ok(())
    }

    fn flush(&mut self) {
        for change in self.unsynced.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// Power fails: some of what was not synced survives, some does not.
    fn crash(&mut self) {
        self.lose_some();
        self.cached = self.durable.clone();
        self.has_power = false;
        self.life += 1;
    }

    /// Writes some of what is unsynced, and forgets the rest.
    fn lose_some(&mut self) {
        // Most of it, half of it, or hardly any: extremes find other mistakes than averages do.
        let kept = [0.95, 0.5, 0.05][self.rng.random_range(0..3)];
        for change in std::mem::take(&mut self.unsynced) {
            if self.rng.random_bool(kept) {
                change.apply(&mut self.durable);
            } else if self.rng.random_bool(0.5) {
                change.tear(&mut self.durable, &mut self.rng);
            }
        }
    }

    fn check_power(&self) -> io::Result<()> {
        if self.has_power { Ok(()) } else { Err(io::Error::other("the power has failed")) }
    }

    fn check_space(&self, len: usize) -> io::Result<()> {
        match self.faults.capacity {
            Some(capacity) if len as u64 > capacity => Err(ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(len) => bytes.resize(*len, 0),
            Self::Write { offset, data } => {
                let end = offset + data.len();
                // The write may have survived a growth that did not.
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(data);
            }
        }
    }

    /// Writes a part: up to some sector, or some of the sectors.
    fn tear(&self, bytes: &mut Vec<u8>, rng: &mut impl Rng) {
        let Self::Write { offset, data } = self else { return };
        let prefix = rng.random_bool(0.5).then(|| rng.random_range(0..=data.len() / SECTOR));
        // Sectors lie where the disk has them, not where the write begins.
        let mut at = 0;
        let mut nth = 0;
        while at < data.len() {
            let end = data.len().min(at + SECTOR - (offset + at) % SECTOR);
            if prefix.map_or_else(|| rng.random_bool(0.5), |prefix| nth < prefix) {
                Self::Write { offset: offset + at, data: data[at..end].to_vec() }.apply(bytes);
            }
            (at, nth) = (end, nth + 1);
        }
    }
}

/// The disk as one opening of it sees it.
struct Session {
    disk: Disk,
    life: u64,
}

impl Session {
    fn platter(&self) -> io::Result<MutexGuard<'_, Platter>> {
        let platter = self.disk.platter();
        platter.check_power()?;
        if platter.life == self.life { Ok(platter) } else { Err(io::Error::other("opened anew by somebody else")) }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty disk, life {}", self.life)
    }
}

impl StorageBackend for Session {
    fn len(&self) -> io::Result<u64> {
        Ok(self.platter()?.cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.platter()?;
        let offset = offset as usize;
        let bytes = platter.cached.get(offset..offset + out.len()).ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platter = self.platter()?;
        platter.change(false)?;
        platter.check_space(len as usize)?;
        let change = Change::Length(len as usize);
        change.apply(&mut platter.cached);
        platter.unsynced.push(change);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.platter()?.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.platter()?;
        platter.change(false)?;
        platter.check_space(offset as usize + data.len())?;
        let change = Change::Write { offset: offset as usize, data: data.to_vec() };
        change.apply(&mut platter.cached);
        platter.unsynced.push(change);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_synced_survives_and_the_rest_may_not() {
        let mut lost = 0;
        let mut torn = 0;
        for seed in 0..100 {
            let disk = Disk::new(seed);
            let file = disk.open().expect("opened");
            file.set_len(8 * SECTOR as u64).expect("grown");
            file.write(0, &[1; 4 * SECTOR]).expect("written");
            file.sync_data().expect("synced");
            file.write(4 * SECTOR as u64, &[2; 4 * SECTOR]).expect("written");
            disk.crash();
            assert!(file.len().is_err(), "without power");
            disk.power_on();
            let after = disk.contents();
            assert_eq!(after[..4 * SECTOR], [1; 4 * SECTOR]);
            let kept = after[4 * SECTOR..].chunks(SECTOR).filter(|sector| **sector == [2; SECTOR]).count();
            lost += usize::from(kept == 0);
            torn += usize::from((1..4).contains(&kept));
        }
        assert!(lost > 10 && torn > 10, "{lost} lost, {torn} torn");
    }

    #[test]
    fn a_failed_sync_shows_what_will_not_last_until_it_is_opened_anew() {
        let disk = Disk::new(3);
        let file = disk.open().expect("opened");
        file.set_len(400 * SECTOR as u64).expect("grown");
        for nth in 0..400 {
            file.write(nth * SECTOR as u64, &[7; SECTOR]).expect("written");
        }
        disk.set_faults(Faults { fail_at: Some(disk.calls() + 1), ..Faults::default() });
        assert!(file.sync_data().is_err());
        file.sync_data().expect("says that all is well");
        assert!(disk.contents().iter().all(|byte| *byte == 7), "the cache shows it");
        disk.open().expect("opened anew");
        assert!(disk.contents().iter().any(|byte| *byte != 7), "it did not last");
    }
}
