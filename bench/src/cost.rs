//! What the kernel says this process has used: CPU time, wall time, resident memory. Read, never estimated.

use rustix::time::{ClockId, clock_gettime};
use std::{fs, io, time::Duration};

/// CPU time of all threads of this process, user and system together (the sum that `getrusage` splits).
pub fn cpu_time() -> Duration {
    read_clock(ClockId::ProcessCPUTime)
}

/// CPU time of the calling thread, user and system together: what it costs, also where others want the processor, too.
pub fn thread_time() -> Duration {
    read_clock(ClockId::ThreadCPUTime)
}

/// Time since some fixed moment; never goes back.
pub fn wall_time() -> Duration {
    read_clock(ClockId::Monotonic)
}

/// Bytes of this process that are in memory now (`VmRSS`). Kernel socket buffers are not among them.
pub fn resident_bytes() -> io::Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm
        .split_ascii_whitespace()
        .nth(1)
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "statm without a resident field"))?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// The processor's name, for the report.
pub fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':')).map_or_else(|| "unknown".into(), |(_, name)| name.trim().into())
}

/// The middle one; of an even count, the lower of the two in the middle. `values` is not empty.
pub fn median(mut values: Vec<f64>) -> f64 {
    assert!(!values.is_empty(), "a median of nothing");
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}

fn read_clock(id: ClockId) -> Duration {
    let now = clock_gettime(id);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_one_of_the_values() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.0);
    }
}
