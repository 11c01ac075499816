//! A small terminal client: one room over one WebSocket, sealed and opened here.
//!
//! [`talk`] reads lines and frames and writes what [`Talk`] says; the talk itself does no input or output. A connection that
//! breaks is made again and goes on from the last position; what was not answered is sent again with the same request id and
//! the same bytes. Line by line throughout, so that it works in pipes; it prompts on a terminal only.

mod shown;
mod talk;
#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::time::Duration;

use chamberlain_core::id::AccountId;
use chamberlain_core::wire::Codec;
use futures_util::{SinkExt, StreamExt};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::cli::Failure;
use crate::cli::output::{line, print, say};
use crate::client::{Client, Stream, fresh};
use talk::{Act, Talk};

/// The codec of this client.
const CODEC: Codec = Codec::Bincode;
/// How often it looks after what must be sent again.
const TICK: Duration = Duration::from_millis(500);
/// Ticks between pings.
const TICKS_PER_PING: u32 = 40;
/// How long it tries to reach a server that was there.
const RECONNECT_WITHIN: Duration = Duration::from_secs(60);
/// How long it waits between two attempts.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// What to talk about, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// A room's id, a channel's name, or `@ACCOUNT`.
    pub(crate) room: String,
    /// Who speaks.
    pub(crate) account: AccountId,
    /// Whether to make a channel of that name when there is none.
    pub(crate) create: bool,
    /// How many of the last revisions to begin with.
    pub(crate) last: u32,
    /// Whether to go on when the input has ended.
    pub(crate) stay: bool,
}

type Socket = WebSocketStream<Box<dyn Stream>>;

/// What a person sees and types into.
struct Terminal {
    input: Option<Lines<BufReader<Stdin>>>,
    prompts: bool,
}

/// Talks until the input ends, `/quit`, or the server ends it.
pub(crate) async fn talk(client: Client, options: Options) -> Result<(), Failure> {
    let seed = fresh().map_err(|why| Failure::failed(why.to_string()))?;
    let mut talk = Talk::new(options, client.token(), StdRng::from_seed(seed));
    let prompts = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let mut terminal = Terminal { input: Some(BufReader::new(tokio::io::stdin()).lines()), prompts };
    let mut lost: Option<Instant> = None;
    loop {
        match dial(&client).await {
            Ok(mut socket) => {
                lost = None;
                talk.connected();
                if let Some(ended) = converse(&mut talk, &mut socket, &mut terminal).await? {
                    let _gone = socket.close(None).await;
                    return ended;
                }
            }
            Err(why) if !talk.is_known() => return Err(why),
            Err(_) => {}
        }
        let since = *lost.get_or_insert_with(Instant::now);
        if since.elapsed() > RECONNECT_WITHIN {
            return Err(Failure::failed(format!("the server at {} is gone", client.url())));
        }
        say("* the connection broke; connecting again");
        sleep(RECONNECT_AFTER).await;
    }
}

/// One connection's worth. `None` when it broke and another may go on.
async fn converse(
    talk: &mut Talk,
    socket: &mut Socket,
    terminal: &mut Terminal,
) -> Result<Option<Result<(), Failure>>, Failure> {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut until_ping = TICKS_PER_PING;
    loop {
        for act in talk.acts() {
            match act {
                Act::Send(frame) => {
                    if socket.send(Message::binary(CODEC.encode(&frame))).await.is_err() {
                        return Ok(None);
                    }
                }
                Act::Show(text) if terminal.prompts => print(&format!("\r{text}\n> "))?,
                Act::Show(text) => line(text)?,
                Act::End(ended) => return Ok(Some(ended)),
            }
        }
        tokio::select! {
            biased;
            read = socket.next() => match read {
                Some(Ok(Message::Binary(bytes))) => match CODEC.decode_server(&bytes) {
                    Ok(frame) => talk.take(frame),
                    Err(why) => return Ok(Some(Err(Failure::failed(format!("a frame that is not understood: {why}"))))),
                },
                Some(Ok(Message::Close(frame))) => {
                    let code = frame.map_or(1005, |frame| frame.code.into());
                    talk.closed(code);
                    return Ok(talk.acts().into_iter().find_map(|act| match act {
                        Act::End(ended) => Some(ended),
                        _ => None,
                    }));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Ok(None),
            },
            _ = ticks.tick() => {
                until_ping -= 1;
                if until_ping == 0 {
                    until_ping = TICKS_PER_PING;
                    talk.ping();
                }
                talk.again();
            }
            typed = next_line(&mut terminal.input), if talk.takes_lines() => match typed {
                Some(typed) => talk.line(&typed),
                None => {
                    terminal.input = None;
                    talk.input_ended();
                }
            },
        }
    }
}

/// The next line; none when the input has ended, and for ever waiting after that.
async fn next_line(input: &mut Option<Lines<BufReader<Stdin>>>) -> Option<String> {
    match input {
        // What is not text ends the input like its end does.
        Some(lines) => lines.next_line().await.ok().flatten(),
        None => std::future::pending().await,
    }
}

async fn dial(client: &Client) -> Result<Socket, Failure> {
    let stream = client.connect().await?;
    let failed = |why: Error| Failure::failed(format!("no socket at {}: {why}", client.url()));
    let mut request = client.socket_url().into_client_request().map_err(failed)?;
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(CODEC.subprotocol()));
    let (socket, _) = tokio_tungstenite::client_async(request, stream).await.map_err(failed)?;
    Ok(socket)
}
