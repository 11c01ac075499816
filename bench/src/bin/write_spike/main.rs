//! The write spike: what it costs to bring one pre-encoded frame to many WebSocket connections, by who writes it.
//!
//! Every shape sends the same frames over loopback to clients that only drain, in a process of their own, so that the CPU
//! time of this process is that of the sending side. Shapes take turns, round after round, and each figure is a median; the
//! ratio is the median of the ratios within a round. See `bench/SPIKE.md` for what came out and what follows.
//!
//! ```text
//! cargo run --release -p chamberlain-bench --bin write_spike -- [--sockets N] [--payload BYTES] [--revisions N]
//!     [--rounds N] [--workers N] [--idle-sockets N] [--only TEXT] [--json PATH]
//! ```
//!
//! `--workers 0` (the default) is one thread that does everything, which is what "per core" means; more make a
//! multi-threaded runtime. Each side holds a descriptor per socket, so the hard limit (`ulimit -Hn`) must exceed the
//! number of sockets; the soft limit is raised from here.

#![allow(clippy::print_stdout, reason = "the table is the product")]

mod accept;
mod drain;
mod frame;
mod idle;
mod outlet;
mod room;
mod shapes;

use chamberlain_bench::cost;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use shapes::{Plan, Sample, Shape};
use std::{fs, io, path::PathBuf};
use tokio::runtime::{Builder, Runtime};

fn main() -> io::Result<()> {
    raise_descriptor_limit()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((role, rest)) if role == drain::ROLE => drain::run(rest),
        Some((role, rest)) if role == idle::ROLE => {
            println!("{}", idle::run(rest)?);
            Ok(())
        }
        _ => spike(&Options::parse(&arguments)?),
    }
}

/// What the command line asks for.
struct Options {
    plan: Plan,
    rounds: usize,
    workers: usize,
    idle_sockets: usize,
    only: String,
    json: Option<PathBuf>,
}

impl Options {
    fn parse(arguments: &[String]) -> io::Result<Self> {
        let mut options = Self {
            plan: Plan { sockets: 1000, payload_bytes: 256, revisions: 200 },
            rounds: 7,
            workers: 0,
            idle_sockets: 4000,
            only: String::new(),
            json: None,
        };
        for pair in arguments.chunks(2) {
            let [name, value] = pair else { return Err(wrong(&pair[0])) };
            let number = || value.parse::<usize>().map_err(|_| wrong(name));
            match name.as_str() {
                "--sockets" => options.plan.sockets = number()?.max(1),
                "--payload" => options.plan.payload_bytes = number()?,
                "--revisions" => options.plan.revisions = number()?.max(1) as u64,
                "--rounds" => options.rounds = number()?.max(1),
                "--workers" => options.workers = number()?,
                "--idle-sockets" => options.idle_sockets = number()?,
                "--only" => options.only.clone_from(value),
                "--json" => options.json = Some(value.into()),
                _ => return Err(wrong(name)),
            }
        }
        Ok(options)
    }

    fn runtime(&self) -> io::Result<Runtime> {
        match self.workers {
            0 => Builder::new_current_thread().enable_all().build(),
            workers => Builder::new_multi_thread().worker_threads(workers).enable_all().build(),
        }
    }
}

/// Everything that the run found, as it is written to `--json`.
#[derive(Serialize)]
struct Report {
    processor: String,
    cores: usize,
    sockets: usize,
    payload_bytes: usize,
    revisions: u64,
    rounds: usize,
    workers: usize,
    writes: Vec<WriteRow>,
    idle_sockets: usize,
    idle: Vec<IdleRow>,
}

#[derive(Serialize)]
struct WriteRow {
    shape: &'static str,
    deliveries_per_cpu_second: f64,
    deliveries_per_wall_second: f64,
    cpu_us_per_delivery: f64,
    /// Of deliveries per CPU second, to the bare loop of the same round.
    ratio_to_bare: f64,
    blocked_writes: f64,
}

#[derive(Serialize)]
struct IdleRow {
    holding: &'static str,
    bytes_per_socket: f64,
}

fn spike(options: &Options) -> io::Result<()> {
    let writes = compare_writes(options)?;
    let idle = compare_idle(options)?;
    let report = Report {
        processor: cost::processor(),
        cores: std::thread::available_parallelism()?.get(),
        sockets: options.plan.sockets,
        payload_bytes: options.plan.payload_bytes,
        revisions: options.plan.revisions,
        rounds: options.rounds,
        workers: options.workers,
        writes,
        idle_sockets: options.idle_sockets,
        idle,
    };
    print(&report);
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_string_pretty(&report).map_err(io::Error::other)?)?;
    }
    Ok(())
}

fn compare_writes(options: &Options) -> io::Result<Vec<WriteRow>> {
    // The bare loop is in every round, whatever else is: the others are measured against it.
    let wanted = |shape: &Shape| *shape == Shape::Bare || shape.name().contains(&options.only);
    let shapes: Vec<Shape> = Shape::ALL.into_iter().filter(wanted).collect();
    let mut rounds: Vec<Vec<Sample>> = Vec::with_capacity(options.rounds);
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        // Each round starts one shape further on, so that none always runs on a warmer or busier machine.
        let mut samples = vec![None; shapes.len()];
        for turn in 0..shapes.len() {
            let index = (turn + round) % shapes.len();
            samples[index] = Some(options.runtime()?.block_on(shapes::measure(shapes[index], options.plan))?);
        }
        rounds.push(samples.into_iter().map(|sample| sample.expect("each shape has its turn")).collect());
    }

    let deliveries = options.plan.sockets as f64 * options.plan.revisions as f64;
    let row = |(index, shape): (usize, &Shape)| {
        let median = |figure: &dyn Fn(&Vec<Sample>) -> f64| cost::median(rounds.iter().map(figure).collect());
        let cpu_seconds = median(&|round| round[index].cpu.as_secs_f64());
        WriteRow {
            shape: shape.name(),
            deliveries_per_cpu_second: deliveries / cpu_seconds,
            deliveries_per_wall_second: deliveries / median(&|round| round[index].wall.as_secs_f64()),
            cpu_us_per_delivery: cpu_seconds * 1e6 / deliveries,
            ratio_to_bare: median(&|round| round[0].cpu.as_secs_f64() / round[index].cpu.as_secs_f64()),
            blocked_writes: median(&|round| round[index].blocked as f64),
        }
    };
    Ok(shapes.iter().enumerate().map(row).collect())
}

fn compare_idle(options: &Options) -> io::Result<Vec<IdleRow>> {
    if options.idle_sockets == 0 {
        return Ok(Vec::new());
    }
    let measure = |holding: idle::Holding| {
        eprintln!("idle: {}", holding.name());
        let bytes_per_socket = idle::measure_apart(holding, options.idle_sockets)?;
        Ok(IdleRow { holding: holding.name(), bytes_per_socket })
    };
    idle::Holding::ALL.into_iter().map(measure).collect()
}

fn print(report: &Report) {
    println!("{}, {} cores; {} workers", report.processor, report.cores, report.workers);
    println!(
        "{} sockets, {} B payload, {} revisions, medians of {} rounds\n",
        report.sockets, report.payload_bytes, report.revisions, report.rounds
    );
    println!(
        "{:<40} {:>12} {:>12} {:>9} {:>7} {:>8}",
        "shape", "per cpu s", "per wall s", "us cpu", "ratio", "blocked"
    );
    for row in &report.writes {
        println!(
            "{:<40} {:>12.0} {:>12.0} {:>9.2} {:>7.2} {:>8.0}",
            row.shape,
            row.deliveries_per_cpu_second,
            row.deliveries_per_wall_second,
            row.cpu_us_per_delivery,
            row.ratio_to_bare,
            row.blocked_writes
        );
    }
    if !report.idle.is_empty() {
        println!("\n{:<40} {:>12}   ({} sockets)", "idle holding", "B a socket", report.idle_sockets);
    }
    for row in &report.idle {
        println!("{:<40} {:>12.0}", row.holding, row.bytes_per_socket);
    }
}

/// Up to the hard limit: a thousand sockets are just above the usual soft one.
fn raise_descriptor_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(())
}

fn wrong(argument: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{argument}: unknown, or without a number behind it"))
}
