//! `chamberlain serve`.

use std::path::Path;

use chamberlain_core::limits::Limits;
use clap::Args;
use tokio::sync::watch;

use super::output::{line, say};
use super::{Failure, Place, load};
use crate::config::{Config, Flags, SignInMode};
use crate::logging;
use crate::serve::{Server, VERSION};

/// Run the server until it is stopped (Ctrl-C or SIGTERM); a second signal stops it at once
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    chamberlain serve                                   for this machine, without any configuration\n  \
    chamberlain serve --config /etc/chamberlain.toml    as configured\n  \
    CHAMBERLAIN_LOGGING__LEVEL=debug chamberlain serve      any key can come from the environment\n\n\
    Without configuration it listens on loopback alone, keeps its data in ./chamberlain-data, and takes any name as a\n\
    sign-in. `chamberlain config print` shows every key with its value and where that came from.\n\
    SIGHUP reads the TLS certificate again.")]
pub(super) struct Serve {
    #[command(flatten)]
    place: Place,
    /// Address and port to listen on [default: 127.0.0.1:7300]; port 0 for any that is free
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Take any name as a sign-in, whatever is configured; on loopback only
    #[arg(long)]
    dev: bool,
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self { place, listen, dev } = self;
        let config = load(&Flags { listen, dev, ..place.flags() })?.config;
        logging::start(config.log_filter.clone(), config.log_json);
        allow_files(&config);
        // Before anything else: a signal during a long opening must not be lost.
        let stop = stop_signal()?;
        let server = Server::open(&config).await?;
        renew_on_hangup(&server)?;
        let banner = banner(&config, &server);
        // Whoever started it without looking at its output still wants it to run.
        let _unread = line(banner);
        tracing::info!(address = %server.address(), site = %config.site, node = config.node, version = VERSION, "serving");
        server.run(stop).await;
        tracing::info!("stopped");
        Ok(())
    }
}

/// What a person should know when the server is ready.
fn banner(config: &Config, server: &Server) -> String {
    let own = match config.tls {
        Some(_) => format!("https://{}", server.address()),
        None => format!("http://{}", server.address()),
    };
    let open = config.public_url.clone().unwrap_or(own.clone());
    let mut text = format!("Chamberlain {VERSION} is ready.\n\n  Open     {open}\n");
    if open != own {
        text.push_str(&format!("  Listens  {own}\n"));
    }
    text.push_str(&format!("  Data     {} (site {}, node {})\n", config.data.display(), config.site, config.node));
    if let Some(servers) = &config.servers {
        text.push_str(&format!(
            "  Servers  logs in JetStream at {}, everything else in Valkey\n",
            servers.nats.addresses.join(", ")
        ));
    }
    match &config.sign_in.mode {
        SignInMode::Development => text.push_str(
            "  Sign-in  development: anybody on this machine may sign in under any name, without a password.\n           \
             For others, configure [auth] with mode = \"jwt\"; until then it listens on loopback alone.\n",
        ),
        SignInMode::Jwt(_) => text.push_str("  Sign-in  signed tokens (JWT)\n"),
    }
    if config.tls.is_none() && !server.address().ip().is_loopback() {
        text.push_str("  TLS      none: put a proxy with a certificate before it, or set tls.cert and tls.key; browsers seal messages over HTTPS only\n");
    }
    if let Some(subjects) = &config.subjects {
        text.push_str(&format!("  NATS     rooms are on the subjects of {}\n", subjects.servers.join(", ")));
    }
    if config.limits != Limits::default() {
        text.push_str("  Limits   changed: `chamberlain config print` shows them\n");
    }
    if let Some(key) = server.made_key() {
        text.push_str(&format!("\n{}\n", about_key(key)));
    }
    text.push_str("\nCtrl-C stops it.");
    text
}

fn about_key(key: &Path) -> String {
    format!(
        "A new master key was made: {}. Keep a copy elsewhere: without it, nobody can read what is kept here.",
        key.display()
    )
}

/// Files that are neither connections nor counted among them: the store, pages of the runtime, log lines.
#[cfg(unix)]
const OTHER_FILES: u64 = 256;

/// Every connection is an open file, and systems begin with few of them allowed: takes as many as may be had.
#[cfg(unix)]
fn allow_files(config: &Config) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "no more files may be opened than before");
    }
    let wanted = u64::from(config.limits.sockets) + OTHER_FILES;
    // Nobody asked for the default, and few need it.
    let asked_for = config.limits.sockets != Limits::default().sockets;
    if let Some(allowed) = getrlimit(Resource::Nofile).current.filter(|allowed| asked_for && *allowed < wanted) {
        tracing::warn!(
            allowed,
            wanted,
            "the system allows fewer open files than limits.sockets connections need (ulimit -n)"
        );
    }
}

#[cfg(not(unix))]
fn allow_files(_: &Config) {}

/// Ends at the first signal to stop; the second ends the process.
fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let (first, mut stopping) = watch::channel(false);
    let mut signals = Signals::new()?;
    tokio::spawn(async move {
        signals.next().await;
        say("stopping: connections are asked to leave; once more stops at once");
        let _nobody_waits = first.send(true);
        signals.next().await;
        say("stopped at once; what was answered is durable");
        std::process::exit(1);
    });
    Ok(async move {
        let _first = stopping.wait_for(|stop| *stop).await;
    })
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).map_err(|why| Failure::failed(format!("signals: {why}")));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn next(&mut self) {
        let _listening = tokio::signal::ctrl_c().await;
    }
}

#[cfg(unix)]
fn renew_on_hangup(server: &Server) -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    // Without a certificate there is nothing to renew, and a terminal that is closed ends what runs in it, as ever.
    let Some(renew) = server.renewal() else { return Ok(()) };
    let mut hangups = signal(SignalKind::hangup()).map_err(|why| Failure::failed(format!("signals: {why}")))?;
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            renew();
        }
    });
    Ok(())
}

#[cfg(not(unix))]
fn renew_on_hangup(_: &Server) -> Result<(), Failure> {
    Ok(())
}
