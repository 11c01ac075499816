//! One WebSocket connection: authenticates, decodes, owns the socket machine, writes what it says.
//!
//! One task each. It sleeps until somebody leaves a note, the client sends, the transport takes bytes, or a deadline passes;
//! one request of the client is worked on at a time (which is the back-pressure), while deliveries go on. Frames are written
//! beneath the WebSocket library, in whole shared buffers; the library reads, and what it wants written goes between frames.

mod connection;
mod framing;
mod rate;
mod requests;
mod session;

pub use framing::frame;
pub(crate) use rate::Rate;

use std::sync::Arc;
use std::time::Duration;

use chamberlain_core::room::{Reason, Refused};
use chamberlain_core::wire::{ClientFrame, Codec, Hello, ServerFrame, Welcome};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::auth::{AuthError, Authenticate, Identity};
use crate::node::Node;
use connection::{Connection, Event, Incoming};
use session::Session;

/// How long a client may take to take its last frames, to finish what it was sending, and to close.
const CLOSING: Duration = Duration::from_secs(5);

/// Serves one connection whose handshake is done, until it ends.
pub async fn run<S>(io: S, codec: Codec, node: Node, auth: Arc<dyn Authenticate>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let metrics = node.metrics().clone();
    metrics.socket_opened();
    let mut connection = Connection::new(io, codec, node.limits()).await;
    let code = match begin(&mut connection, codec, &node, &auth).await {
        Ok(session) => session.run(&mut connection).await,
        Err(None) => 1006,
        Err(Some((code, reason))) => {
            say_bye(&mut connection, codec, code, &reason);
            code
        }
    };
    // A client that does not take its last frames, or does not close, is not waited for.
    let _late = tokio::time::timeout(CLOSING, connection.finish(code)).await;
    metrics.socket_closed(code);
}

/// Waits for hello, authenticates, and joins. `Err(None)` when the client went away.
async fn begin<S>(
    connection: &mut Connection<S>,
    codec: Codec,
    node: &Node,
    auth: &Arc<dyn Authenticate>,
) -> Result<Session, Option<(u16, Refused)>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let within = Duration::from_millis(node.limits().hello_ms.into());
    let hello = tokio::time::timeout(within, first_frame(connection, codec)).await;
    let hello = hello.map_err(|_| Some((4000, Refused::new(Reason::Malformed, "no hello came in time"))))??;
    let who = authenticate(auth, &hello.token, node).map_err(|refused| Some((4001, refused)))?;
    let entry = node.sign_in(&who, auth.provision()).await.map_err(|refused| {
        let code = if refused.reason == Reason::AccountDisabled { 4003 } else { 4001 };
        Some((code, refused))
    })?;
    if node.is_draining() {
        return Err(Some((4013, Reason::Draining.into())));
    }
    let who = Identity { admin: entry.admin, ..who };
    let inner = node.inner().clone();
    let joined = inner.sockets.join(&who.account, codec, who.admin, node.limits());
    let handle = joined.map_err(|reason| Some((4009, reason.into())))?;
    let mut session = Session::new(inner.clone(), auth.clone(), who, handle, hello.batch);
    // Looked at again: who is shut out from here on is told so as a connection of the account.
    if inner.is_disabled(&session.who.account).await.map_err(|refused| Some((4013, refused)))? {
        return Err(Some((4003, Reason::AccountDisabled.into())));
    }
    // Joined already: what happens to the account from the head on that is read here reaches the session.
    // What was noted before the head was read, the head covers.
    let noted = session.handle.clone();
    let head = inner.account_head(&session.who.account, || noted.forget_account_events()).await;
    let account_revision = head.map_err(|refused| Some((4013, refused)))?;
    let name = chamberlain_core::room::display_name(&entry.account, &entry.name, entry.local_name.as_deref());
    session.send(&ServerFrame::Welcome(Welcome {
        account: session.who.account.clone(),
        name,
        admin: session.who.admin,
        site: inner.settings.keys.site().clone(),
        node: inner.settings.node.clone(),
        time: inner.clock.wall(),
        account_revision,
        expires: session.who.expires,
        limits: node.limits().clone(),
    }));
    Ok(session)
}

async fn first_frame<S>(connection: &mut Connection<S>, codec: Codec) -> Result<Hello, Option<(u16, Refused)>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match connection.next(true).await {
            Event::Came(Incoming::Frame(bytes)) => {
                return match codec.decode_client(&bytes) {
                    Ok(ClientFrame::Hello(hello)) => Ok(hello),
                    Ok(_) => Err(Some((4000, Refused::new(Reason::Malformed, "the first frame must be hello")))),
                    Err(error) => Err(Some((4000, Refused::new(Reason::Malformed, error.0)))),
                };
            }
            Event::Came(Incoming::Sign) | Event::Wrote { .. } => {}
            Event::Came(Incoming::Broken(refused) | Incoming::Refused(refused)) => return Err(Some((4000, refused))),
            Event::Came(Incoming::Closed) => return Err(None),
        }
    }
}

/// Verifies a token.
fn authenticate(auth: &Arc<dyn Authenticate>, token: &str, node: &Node) -> Result<Identity, Refused> {
    verify(auth, token, node.clock())
}

fn verify(auth: &Arc<dyn Authenticate>, token: &str, clock: crate::clock::Clock) -> Result<Identity, Refused> {
    auth.authenticate(token, clock.wall()).map_err(|error| match error {
        AuthError::Expired => Reason::TokenExpired.into(),
        AuthError::Invalid(why) => Refused::new(Reason::InvalidToken, format!("token: {why}")),
    })
}

fn say_bye<S>(connection: &mut Connection<S>, codec: Codec, code: u16, refused: &Refused) {
    let error = ServerFrame::Error {
        id: None,
        room: None,
        code: refused.code(),
        reason: refused.reason,
        message: refused.message.clone().into_owned(),
        current: None,
    };
    let bye = ServerFrame::Bye { code, reason: refused.message.clone().into_owned(), retry_after_ms: None };
    for last in [error, bye] {
        connection.push(frame(codec, codec.encode(&last)));
    }
}
