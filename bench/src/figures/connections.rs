//! What connections cost when nothing happens, and how fast a removal reaches all of them.

use anyhow::Result;

use super::Run;
use super::pair::{Pair, Shape, start_server};
use crate::figure::{Figure, Found, number};

/// Members of the large room, its owner aside.
const MEMBERS: usize = 9_999;

/// Memory of an idle socket.
pub(crate) fn idle(run: &Run) -> Result<Found> {
    const GROUP: &str = "idle";
    let counts: &[usize] = if run.quick { &[1_000] } else { &[1_000, 4_000] };
    let mut figures = Vec::new();
    for &sockets in counts {
        let mut rounds = Vec::new();
        for _ in run.rounds(3) {
            let shape = Shape { disk: false, ..Shape::new(sockets) };
            let (mut server, ready, _) = start_server(run, shape)?;
            let before: crate::peer::Cost = server.ask(&crate::peer::server::Question::Cost)?;
            let mut pair = Pair::join(run, shape, server, ready, None)?;
            // One message, so that every socket has been given its key and what is made on first use is made.
            pair.pump(1, 1)?;
            let after = pair.cost()?;
            rounds.push(after.resident.saturating_sub(before.resident) as f64 / sockets as f64);
        }
        figures.push(
            Figure::new(GROUP, format!("memory per idle socket, {} sockets", number(sockets as f64)), "B", rounds)
                .at_most(8.0 * 1024.0)
                .note("growth of the process, by an account each: what is kept of accounts is in it"),
        );
    }
    Ok(Found { figures, plots: Vec::new() })
}

/// A removal, until the last connected member holds the next key.
pub(crate) fn removal(run: &Run) -> Result<Found> {
    const GROUP: &str = "removal";
    let sockets = run.most_sockets().min(MEMBERS - 10);
    let mut pair = Pair::start(run, Shape { members: MEMBERS, ..Shape::new(sockets) })?;
    let mut rounds = Vec::new();
    for nth in run.rounds(5) {
        rounds.push(pair.remove(MEMBERS - 1 - nth)? / 1e3);
    }
    let name = format!("removal in a room of 10,000, {} connected", number(pair.shape().sockets as f64));
    let note = "from the command until the last of them holds the next key; reading clients on the same cores";
    Ok(Found { figures: vec![Figure::new(GROUP, name, "s", rounds).at_most(1.0).note(note)], plots: Vec::new() })
}
