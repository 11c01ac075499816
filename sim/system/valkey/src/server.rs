//! The server on its sockets: one task for each connection, which reads, has requests carried out one after the other, waits
//! until what was written is as safe as promised, and answers.
//!
//! Invariant: with `appendfsync always` nothing is answered before everything that was written when it was made is synced, also
//! by others: no reader learns of what could still be lost.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::commands::{Answer, Session, Wait, execute};
use crate::disk::{Disk, Loss};
use crate::process::{Fatal, Machine};
use crate::resp::{Reply, Requests};
use crate::settings::{Fsync, Replicas, Settings};

/// Bytes of answers that are collected before they are sent.
const ANSWERS: usize = 256 * 1024;
/// Bytes that are read at once, as the real server does.
const READ: usize = 16 * 1024;
/// How often a server looks after its file: once a second it syncs, or tries again what it could not write.
const TICK: Duration = Duration::from_secs(1);
/// What `WAIT` and `WAITAOF` call for ever.
const FOR_EVER: Duration = Duration::from_secs(3_600);
/// How long after a failure to take a connection the next is taken.
const AFTER_FAILURE: Duration = Duration::from_millis(10);

/// A machine with a server on it, which runs or does not. Clones are the same one.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    machine: Mutex<Machine>,
    /// Syncs happen one after the other.
    syncing: tokio::sync::Mutex<()>,
    /// How many entries are safe.
    synced: watch::Sender<u64>,
    paused: watch::Sender<bool>,
    life: Mutex<Option<Life>>,
}

/// A process that was started.
struct Life {
    over: watch::Sender<bool>,
    /// Closed once its last task has ended.
    tasks: mpsc::Receiver<()>,
}

/// What every task of a process has.
#[derive(Clone)]
struct Task {
    shared: Arc<Shared>,
    over: watch::Sender<bool>,
    _alive: mpsc::Sender<()>,
}

impl Server {
    /// One that does not run yet, with an empty disk.
    pub fn new(settings: Settings) -> Self {
        Self {
            shared: Arc::new(Shared {
                machine: Mutex::new(Machine::new(settings)),
                syncing: tokio::sync::Mutex::default(),
                synced: watch::channel(0).0,
                paused: watch::channel(false).0,
                life: Mutex::default(),
            }),
        }
    }

    /// Starts it over what its disk has; where it listens. Its tasks run on the host where this is called.
    ///
    /// # Errors
    /// Nobody can listen there.
    ///
    /// # Panics
    /// If it runs.
    pub async fn start(&self, address: SocketAddr) -> io::Result<SocketAddr> {
        assert!(!self.is_running(), "it runs already");
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (over, _) = watch::channel(false);
        let (alive, tasks) = mpsc::channel(1);
        let task = Task { shared: self.shared.clone(), over: over.clone(), _alive: alive };
        let synced = {
            let mut machine = self.shared.machine();
            machine.boot();
            machine.disk.synced()
        };
        self.shared.synced.send_replace(synced);
        self.shared.paused.send_replace(false);
        *self.shared.life() = Some(Life { over, tasks });
        drop(tokio::spawn(task.clone().until_over(task.clone().listen(listener))));
        drop(tokio::spawn(task.clone().until_over(task.tick())));
        Ok(address)
    }

    /// Whether its process is there.
    pub fn is_running(&self) -> bool {
        let mut life = self.shared.life();
        let ended = |life: &mut Life| matches!(life.tasks.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
        life.as_mut().is_some_and(|life| !ended(life))
    }

    /// Ends its process without a word. Its connections end; the disk keeps what was written, whether synced or not.
    pub async fn kill(&self) {
        self.shared.machine().process = None;
        let life = self.shared.life().take();
        if let Some(mut life) = life {
            life.over.send_replace(true);
            // Nothing is ever sent: this waits until all have ended.
            let _ended = life.tasks.recv().await;
        }
    }

    /// Has it stand still: it takes no connection, reads nothing and answers nothing, and its connections stay.
    pub fn pause(&self) {
        self.shared.paused.send_replace(true);
    }

    /// Has it go on.
    pub fn resume(&self) {
        self.shared.paused.send_replace(false);
    }

    /// Has its disk forget.
    ///
    /// # Panics
    /// If it runs.
    pub fn lose(&self, loss: Loss) {
        assert!(!self.is_running(), "a disk forgets while its server is down");
        self.shared.machine().disk.lose(loss);
    }

    /// A copy of its files as they are now.
    pub fn disk(&self) -> Disk {
        self.shared.machine().disk.clone()
    }

    /// Puts files in the place of its own, and returns those.
    ///
    /// # Panics
    /// If it runs.
    pub fn replace_disk(&self, disk: Disk) -> Disk {
        assert!(!self.is_running(), "files are exchanged while the server is down");
        std::mem::replace(&mut self.shared.machine().disk, disk)
    }

    /// Has every write to its disk fail, in the operating system's words, or succeed again. A server that promised to sync each
    /// write ends at the first.
    pub fn set_disk_fault(&self, why: Option<&str>) {
        self.shared.machine().disk_fault = why.map(str::to_owned);
    }

    /// Makes it a copy of another server, which takes no writes, or one of its own again.
    pub fn set_replica(&self, is: bool) {
        self.shared.machine().is_replica = is;
    }

    /// Has so many copies follow it.
    pub fn set_replicas(&self, replicas: Replicas) {
        self.shared.machine().settings.replicas = replicas;
    }

    /// Changes its configuration file, which is read when it starts.
    pub fn configure(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.shared.machine().settings);
    }

    /// What this process calls itself; another one after each start.
    pub fn run_id(&self) -> Option<String> {
        self.shared.machine().process.as_ref().map(|process| process.run_id.clone())
    }

    /// How many connections it has.
    pub fn clients(&self) -> usize {
        self.shared.machine().process.as_ref().map_or(0, |process| process.clients)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({})", self.run_id().unwrap_or_else(|| "down".to_owned()))
    }
}

impl Shared {
    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn life(&self) -> MutexGuard<'_, Option<Life>> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns while the server does not stand still.
    async fn running(&self) {
        if *self.paused.borrow() {
            let mut paused = self.paused.subscribe();
            // The sender is ours.
            let _runs = paused.wait_for(|paused| !*paused).await;
        }
    }

    /// Has everything safe that is written now.
    async fn sync(&self) {
        let upto = self.machine().disk.written();
        let _turn = self.syncing.lock().await;
        // What others wrote meanwhile is synced along.
        let (synced, written, takes) = {
            let machine = self.machine();
            (machine.disk.synced(), machine.disk.written(), machine.settings.sync_takes)
        };
        if synced >= upto {
            return;
        }
        if !takes.is_zero() {
            sleep(takes).await;
        }
        let synced = {
            let mut machine = self.machine();
            machine.disk.sync(written);
            machine.disk.synced()
        };
        self.synced.send_replace(synced);
    }

    /// What was written is as safe as it has to be before anything is answered.
    async fn keep_promise(&self) {
        let promised = self
            .machine()
            .process
            .as_ref()
            .is_some_and(|process| process.settings.appendonly && process.settings.appendfsync == Fsync::Always);
        if promised {
            self.sync().await;
        }
    }
}

impl Task {
    /// Does something until the process is over.
    async fn until_over(self, work: impl Future<Output = ()>) {
        let mut over = self.over.subscribe();
        tokio::select! {
            biased;
            _ = over.wait_for(|over| *over) => {}
            () = work => {}
        }
    }

    /// The process cannot go on.
    fn die(&self) {
        self.shared.machine().process = None;
        self.over.send_replace(true);
    }

    async fn listen(self, listener: TcpListener) {
        loop {
            self.shared.running().await;
            let Ok((stream, _)) = listener.accept().await else {
                sleep(AFTER_FAILURE).await;
                continue;
            };
            // It was taken by the machine, not by the process, if that stands still.
            self.shared.running().await;
            drop(tokio::spawn(self.clone().until_over(self.clone().admit(stream))));
        }
    }

    async fn admit(self, mut stream: TcpStream) {
        let session = {
            let mut machine = self.shared.machine();
            let Some(process) = &mut machine.process else { return };
            process.connections += 1;
            let is_full = process.clients >= process.settings.maxclients;
            process.clients += usize::from(!is_full);
            (!is_full).then(|| Session::new(process.connections, &process.settings.default))
        };
        let Some(session) = session else {
            // Whether it arrives is nobody's concern.
            let _sent = stream.write_all(b"-ERR max number of clients reached\r\n").await;
            return;
        };
        let counted = Counted(self.shared.clone());
        // Nothing but Nagle's delay depends on it.
        let _set = stream.set_nodelay(true);
        // However it ends, it has ended.
        let _ended = self.converse(stream, session).await;
        drop(counted);
    }

    /// Reads and answers, until the client goes away.
    async fn converse(&self, mut stream: TcpStream, mut session: Session) -> io::Result<()> {
        let (mut requests, mut answers, mut last) = (Requests::default(), Vec::new(), false);
        while !last {
            requests.buffer().reserve(READ);
            if stream.read_buf(requests.buffer()).await? == 0 {
                break;
            }
            loop {
                self.shared.running().await;
                let protocol = |session: &Session| session.protocol;
                match requests.next(session.user.is_some()) {
                    Ok(None) => break,
                    Ok(Some(words)) => {
                        let answer = execute(&mut self.shared.machine(), &mut session, &words);
                        match answer {
                            Ok(Answer::Reply(reply)) => reply.write(protocol(&session), &mut answers),
                            Ok(Answer::Last(reply)) => {
                                reply.write(protocol(&session), &mut answers);
                                last = true;
                            }
                            Ok(Answer::Wait(wait)) => {
                                self.send(&mut stream, &mut answers).await?;
                                self.wait(&session, wait).await.write(protocol(&session), &mut answers);
                            }
                            Err(Fatal) => {
                                self.die();
                                return Ok(());
                            }
                        }
                    }
                    Err(why) => {
                        Reply::Error(format!("ERR Protocol error: {why}")).write(protocol(&session), &mut answers);
                        last = true;
                    }
                }
                if last {
                    break;
                }
                if answers.len() >= ANSWERS {
                    self.send(&mut stream, &mut answers).await?;
                }
            }
            self.send(&mut stream, &mut answers).await?;
        }
        stream.shutdown().await
    }

    async fn send(&self, stream: &mut TcpStream, answers: &mut Vec<u8>) -> io::Result<()> {
        if answers.is_empty() {
            return Ok(());
        }
        self.shared.keep_promise().await;
        self.shared.running().await;
        stream.write_all(answers).await?;
        answers.clear();
        Ok(())
    }

    /// Waits as a client asked, and says how many disks have what it wrote.
    async fn wait(&self, session: &Session, wait: Wait) -> Reply {
        self.shared.keep_promise().await;
        let began = Instant::now();
        let patience = if wait.patience == 0 { FOR_EVER } else { Duration::from_millis(wait.patience) };
        let deadline = began + patience.min(FOR_EVER);
        let (wrote, at) = session.wrote.unwrap_or((0, began));
        let mut synced = self.shared.synced.subscribe();
        if wait.local.is_some_and(|copies| copies > 0) {
            // Whether in time is looked at below.
            let _synced = timeout_at(deadline, synced.wait_for(|synced| *synced >= wrote)).await;
        }
        let replicas = self.shared.machine().settings.replicas;
        let arrives = if session.wrote.is_some() { at + replicas.lag } else { began };
        if wait.replicas > replicas.count {
            sleep_until(deadline).await;
        } else if wait.replicas > 0 {
            sleep_until(arrives.min(deadline)).await;
        }
        self.shared.running().await;
        let machine = self.shared.machine();
        let acknowledged = if Instant::now() >= arrives { machine.settings.replicas.count } else { 0 };
        let acknowledged = Reply::Number(acknowledged as i64);
        match wait.local {
            None => acknowledged,
            Some(_) => {
                let is_local = machine.settings.appendonly && machine.disk.synced() >= wrote;
                Reply::List(vec![Reply::Number(is_local.into()), acknowledged])
            }
        }
    }

    async fn tick(self) {
        loop {
            sleep(TICK).await;
            self.shared.running().await;
            let sync = {
                let mut machine = self.shared.machine();
                if machine.write_down().is_err() {
                    drop(machine);
                    self.die();
                    return;
                }
                machine.process.as_ref().is_some_and(|process| process.settings.appendfsync == Fsync::EverySecond)
            };
            if sync {
                self.shared.sync().await;
            }
        }
    }
}

/// A connection, for as long as it is counted.
struct Counted(Arc<Shared>);

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(process) = &mut self.0.machine().process {
            process.clients = process.clients.saturating_sub(1);
        }
    }
}
