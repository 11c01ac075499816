//! Dates, from tokio's clock and a date to count from.

use std::fmt::Write;

use tokio::time::Instant;

const SECOND: u64 = 1_000_000_000;
const DAY_SECONDS: u64 = 86_400;

/// What time it is.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    /// Nanoseconds since 1970 when it was started.
    date: u64,
}

impl Clock {
    /// A clock that shows this date now, in nanoseconds since 1970. A server that is started again over its disk goes on with
    /// the clock that it had.
    pub fn starting_at(date: u64) -> Self {
        Self { started: Instant::now(), date }
    }

    /// Nanoseconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        let since = Instant::now().saturating_duration_since(self.started);
        self.date.saturating_add(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// As the server writes dates: `2026-11-21T14:19:35.7287Z`, without zeros at the end; zero is the year one.
pub(crate) fn rfc3339(nanos: u64) -> String {
    if nanos == 0 {
        return "0001-01-01T00:00:00Z".into();
    }
    let (seconds, fraction) = (nanos / SECOND, nanos % SECOND);
    let (year, month, day) = date(seconds / DAY_SECONDS);
    let of_day = seconds % DAY_SECONDS;
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if fraction > 0 {
        let digits = format!("{fraction:09}");
        // Writing to a string does not fail.
        let _ = write!(text, ".{}", digits.trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// Year, month and day of a day after 1970-01-01, in the Gregorian calendar.
fn date(mut days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_the_server_writes_them() {
        assert_eq!(rfc3339(0), "0001-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_795_270_775_728_767_987), "2026-11-21T14:19:35.728767987Z");
        assert_eq!(rfc3339(1_709_164_800 * SECOND + 500_000_000), "2024-02-29T00:00:00.5Z");
        assert_eq!(rfc3339(946_684_799 * SECOND), "1999-12-31T23:59:59Z");
    }
}
