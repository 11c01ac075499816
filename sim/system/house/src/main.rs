//! x
use chamberlain_sim::tape::Tape;
use house::run::{Watch, run};
fn main() {
    let seed: u64 = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(1);
    let watch = Watch { traced: std::env::var("TRACE").is_ok(), logged: std::env::var("LOG").is_ok() };
    let t = std::time::Instant::now();
    let report = run(Tape::seeded(seed), None, watch);
    if let Some(trace) = &report.seal.trace {
        print!("{trace}");
    }
    eprintln!(
        "{}\n{} lines {} simulated {:.1} s in {:.2} s",
        report.plan,
        report.seal.digest,
        report.seal.lines,
        report.simulated,
        t.elapsed().as_secs_f64()
    );
    for o in &report.objections {
        eprintln!("{}: {} {:?}", o.oracle, o.what, o.at);
    }
    eprintln!("{:?}", report.seal.story.probes);
}
