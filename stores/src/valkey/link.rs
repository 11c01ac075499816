//! Calls to the server, over a few connections that are made and vouched for when they are needed.
//!
//! Invariant: nothing is asked over a connection that was not vouched for, and nothing waits longer than its deadline. A
//! connection that failed or was late is never asked again; after a failure to connect nobody tries for a while, and calls
//! are told why at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, PushInfo, PushKind, RedisError, pipe};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::failures::{Doing, is_of_the_call_alone, told};
use super::keys::Keys;
use super::vouch::{Acknowledged, Voucher, enough, wait};
use super::{OpenError, Options};
use crate::StoreError;

/// The connections of a store.
pub(super) struct Link {
    at: String,
    client: Client,
    voucher: Voucher,
    options: Options,
    places: Vec<Mutex<Place>>,
    next: AtomicUsize,
    turns: Semaphore,
}

/// Where a connection is, or was, or will be.
enum Place {
    Empty,
    Open(Connection),
    Down {
        why: String,
        /// When it may be tried anew.
        again: Instant,
    },
}

#[derive(Clone)]
struct Connection {
    link: MultiplexedConnection,
    /// Whether it must not be used any more.
    spent: Arc<AtomicBool>,
    vouched: Instant,
}

impl Link {
    /// Makes the first connection.
    pub(super) async fn open(
        at: String,
        client: Client,
        voucher: Voucher,
        options: Options,
    ) -> Result<Self, OpenError> {
        let link = Self {
            places: (0..options.connections).map(|_| Mutex::new(Place::Empty)).collect(),
            turns: Semaphore::new(options.in_flight),
            next: AtomicUsize::new(0),
            at,
            client,
            voucher,
            options,
        };
        let first = link.connect(Place::Empty).await?;
        if let Some(place) = link.places.first() {
            *place.lock().await = Place::Open(first);
        }
        Ok(link)
    }

    /// Reads.
    pub(super) async fn read<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        self.call(Doing::Reading, async |link| command.query_async(link).await).await
    }

    /// Writes what is under `key`; durable when it returns.
    pub(super) async fn write<T: FromRedisValue>(&self, key: &str, command: Cmd) -> Result<T, StoreError> {
        let replicas = self.options.replicas;
        if replicas == 0 {
            return self.call(Doing::Writing, async |link| command.query_async(link).await).await;
        }
        // The fence is written in any case: what was found instead of being written is waited for as well.
        let mut all = pipe();
        all.add_command(command).cmd("SET").arg(Keys::fence(key)).arg("").ignore();
        all.add_command(wait(replicas, self.options.deadline));
        let answer: Acknowledged<T> = self.call(Doing::Writing, async |link| all.query_async(link).await).await?;
        enough(answer, replicas).map_err(|why| StoreError::Unknown(format!("{}: {why}", self.at)))
    }

    async fn call<T>(
        &self,
        doing: Doing,
        ask: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, StoreError> {
        let deadline = Instant::now() + self.options.deadline;
        let late = |doing_what: &str| {
            StoreError::Unavailable(format!("{}: {doing_what} took {} ms", self.at, self.options.deadline.as_millis()))
        };
        let turn = timeout_at(deadline, self.turns.acquire()).await.map_err(|_| late("waiting for a turn"))?;
        let _turn = turn.map_err(|_| late("waiting for a turn"))?;
        let mut connection = timeout_at(deadline, self.connection()).await.map_err(|_| late("connecting"))??;
        // From here on it may happen.
        match timeout_at(deadline, ask(&mut connection.link)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(why)) => {
                if !is_of_the_call_alone(&why) {
                    connection.spend();
                }
                Err(told(&self.at, doing, &why))
            }
            Err(_) => {
                connection.spend();
                let why = format!("{}: no answer within {} ms", self.at, self.options.deadline.as_millis());
                Err(match doing {
                    Doing::Reading => StoreError::Unavailable(why),
                    Doing::Writing => StoreError::Unknown(why),
                })
            }
        }
    }

    /// A connection that was vouched for not long ago.
    async fn connection(&self) -> Result<Connection, StoreError> {
        let nth = self.next.fetch_add(1, Ordering::Relaxed) % self.places.len();
        let mut place = self.places[nth].lock().await;
        match &*place {
            Place::Open(open) if !open.is_spent() && open.vouched.elapsed() < self.options.vouch_again_after => {
                return Ok(open.clone());
            }
            Place::Down { why, again } if Instant::now() < *again => return Err(StoreError::Unavailable(why.clone())),
            _ => {}
        }
        // Taken out: a caller that goes away meanwhile leaves nothing that is vouched for by half.
        match self.connect(std::mem::replace(&mut *place, Place::Empty)).await {
            Ok(connection) => {
                *place = Place::Open(connection.clone());
                Ok(connection)
            }
            Err(why) => {
                if !matches!(why, OpenError::Unreachable { .. }) {
                    tracing::error!(%why, "the vault is not used");
                }
                let why = why.to_string();
                *place = Place::Down { why: why.clone(), again: Instant::now() + self.options.reconnect_after };
                Err(StoreError::Unavailable(why))
            }
        }
    }

    /// A connection that is vouched for: the one that is there when it is still good, otherwise a new one.
    async fn connect(&self, place: Place) -> Result<Connection, OpenError> {
        let patience = self.options.connect_deadline;
        let attempt = timeout(patience, async {
            if let Place::Open(mut open) = place
                && !open.is_spent()
            {
                match self.voucher.vouch(&mut open.link).await {
                    // It ended meanwhile, or is about to: a new one tells more.
                    Err(OpenError::Unreachable { .. }) => open.spend(),
                    Err(why) => return Err(why),
                    Ok(()) => return Ok(Connection { vouched: Instant::now(), ..open }),
                }
            }
            let spent = Arc::new(AtomicBool::new(false));
            let notice = spent.clone();
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(patience))
                .set_response_timeout(None)
                .set_push_sender(move |push: PushInfo| {
                    if push.kind == PushKind::Disconnection {
                        notice.store(true, Ordering::Release);
                    }
                    Ok::<(), ()>(())
                });
            let opened = self.client.get_multiplexed_async_connection_with_config(&config).await;
            let mut link = opened.map_err(|why| self.voucher.unreachable(&why))?;
            self.voucher.vouch(&mut link).await?;
            Ok(Connection { link, spent, vouched: Instant::now() })
        });
        let late = |_| OpenError::Unreachable {
            at: self.at.clone(),
            why: format!("no connection within {} ms", patience.as_millis()),
        };
        attempt.await.map_err(late)?
    }
}

impl Connection {
    fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Acquire)
    }

    fn spend(&self) {
        self.spent.store(true, Ordering::Release);
    }
}
