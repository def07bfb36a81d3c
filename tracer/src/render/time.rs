//! Wall-clock times and durations as text.
//!
//! A calendar costs more than all the rest of a line, and most lines fall in the same second as the
//! one before: the text of a second is made once and only its fraction is written each time.

use std::fmt::{self, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::digits::{write_last_digits, write_number};

const NS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// RFC 3339 in UTC with exactly nine decimals.
#[derive(Debug, Default)]
pub(crate) struct UtcStamp {
    second: Option<i64>,
    text: String,
}

impl UtcStamp {
    const PREFIX_BYTES: usize = "2026-01-02T03:04:05.".len();

    /// `2026-01-02T03:04:05.123456789Z` for nanoseconds since the Unix epoch.
    pub(crate) fn format(&mut self, wall_ns: i64) -> &str {
        let second = wall_ns.div_euclid(NS_PER_SECOND);
        if self.second != Some(second) {
            self.second = Some(second);
            self.text.clear();
            let civil = Civil::from_unix(second);
            let _ = write!(self.text, "{}T{}.", civil.date(), civil.time_of_day());
        }
        self.text.truncate(Self::PREFIX_BYTES);
        let _ = write_last_digits(&mut self.text, 9, ns_of_second(wall_ns));
        self.text.push('Z');
        &self.text
    }
}

/// Times of day in a time zone, with microseconds.
#[derive(Debug)]
pub(crate) struct LocalClock {
    zone: TimeZone,
    second: Option<i64>,
    day: LocalDay,
    text: String,
}

/// A calendar day and the offset from UTC that holds for a moment of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LocalDay {
    days: i64,
    offset_seconds: i64,
}

impl LocalClock {
    const PREFIX_BYTES: usize = "03:04:05.".len();

    pub(crate) fn new(zone: TimeZone) -> Self {
        Self {
            zone,
            second: None,
            day: LocalDay::default(),
            text: String::new(),
        }
    }

    /// The day, for nanoseconds since the Unix epoch.
    pub(crate) fn day(&mut self, wall_ns: i64) -> LocalDay {
        let second = wall_ns.div_euclid(NS_PER_SECOND);
        if self.second != Some(second) {
            self.second = Some(second);
            let offset_seconds = Timestamp::from_second(second)
                .map_or(0, |moment| i64::from(self.zone.to_offset(moment).seconds()));
            let civil = Civil::from_unix(second + offset_seconds);
            self.day = LocalDay {
                days: civil.days,
                offset_seconds,
            };
            self.text.clear();
            let _ = write!(self.text, "{}.", civil.time_of_day());
        }
        self.day
    }

    /// `03:04:05.123456` and its day, likewise.
    pub(crate) fn format(&mut self, wall_ns: i64) -> (LocalDay, &str) {
        let day = self.day(wall_ns);
        self.text.truncate(Self::PREFIX_BYTES);
        let _ = write_last_digits(&mut self.text, 6, ns_of_second(wall_ns) / 1000);
        (day, &self.text)
    }
}

impl fmt::Display for LocalDay {
    /// `2026-01-02 +02:00`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let civil = Civil::from_unix(self.days * SECONDS_PER_DAY);
        let sign = if self.offset_seconds < 0 { '-' } else { '+' };
        let seconds = self.offset_seconds.unsigned_abs();
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        write!(f, "{} {sign}{hours:02}:{minutes:02}", civil.date())?;
        match seconds % 60 {
            0 => Ok(()),
            odd => write!(f, ":{odd:02}"),
        }
    }
}

/// A moment of the proleptic Gregorian calendar.
#[derive(Clone, Copy)]
struct Civil {
    days: i64,
    year: i64,
    month: i64,
    day: i64,
    second_of_day: i64,
}

impl Civil {
    /// From seconds since the Unix epoch.
    ///
    /// The year is taken to begin on 1 March, so that the leap day is its last, and the era of 400
    /// years on 1 March 0000 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    fn from_unix(second: i64) -> Self {
        let days = second.div_euclid(SECONDS_PER_DAY);
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        Self {
            days,
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
            second_of_day: second.rem_euclid(SECONDS_PER_DAY),
        }
    }

    fn date(self) -> impl fmt::Display {
        fmt::from_fn(move |f| write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day))
    }

    fn time_of_day(self) -> impl fmt::Display {
        let second = self.second_of_day;
        fmt::from_fn(move |f| {
            let (hour, minute) = (second / 3600, second / 60 % 60);
            write!(f, "{hour:02}:{minute:02}:{:02}", second % 60)
        })
    }
}

fn ns_of_second(wall_ns: i64) -> u32 {
    u32::try_from(wall_ns.rem_euclid(NS_PER_SECOND)).unwrap_or_default()
}

/// Appends a duration for people, at most seven characters up to 99 days: `35us`, `1.203ms`, `12.41s`,
/// `3h02m`. Cut, not rounded, so that it never says more than was measured.
pub(crate) fn write_human(out: &mut impl Write, ns: u64) -> fmt::Result {
    let us = ns / 1000;
    let seconds = us / 1_000_000;
    match ns {
        0..1_000 => write_whole(out, ns, "ns"),
        1_000..1_000_000 => write_whole(out, us, "us"),
        1_000_000..1_000_000_000 => write_thousandths(out, us, "ms"),
        1_000_000_000..60_000_000_000 => write_thousandths(out, us / 1000, "s"),
        _ if seconds < 3600 => write!(out, "{}m{:02}s", seconds / 60, seconds % 60),
        _ if seconds < 48 * 3600 => {
            write!(out, "{}h{:02}m", seconds / 3600, seconds / 60 % 60)
        }
        _ => write!(out, "{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A duration as [`write_human`] shows it.
pub(crate) fn human(ns: u64) -> impl fmt::Display {
    fmt::from_fn(move |f| write_human(f, ns))
}

fn write_whole(out: &mut impl Write, number: u64, unit: &str) -> fmt::Result {
    write_number(out, number)?;
    out.write_str(unit)
}

/// A number of thousandths below a million, with four significant digits.
fn write_thousandths(out: &mut impl Write, thousandths: u64, unit: &str) -> fmt::Result {
    let (whole, rest) = (thousandths / 1000, thousandths % 1000);
    match whole {
        0..10 => write!(out, "{whole}.{rest:03}{unit}"),
        10..100 => write!(out, "{whole}.{:02}{unit}", rest / 10),
        _ => write!(out, "{whole}.{}{unit}", rest / 100),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn utc_is_what_jiff_says(earlier: i64, wall_ns: i64) {
            let mut stamp = UtcStamp::default();
            stamp.format(earlier);
            let expected = Timestamp::from_nanosecond(i128::from(wall_ns)).unwrap();
            prop_assert_eq!(stamp.format(wall_ns), format!("{expected:.9}"));
        }

        #[test]
        fn local_is_what_jiff_says(wall_ns: i64, offset in -93_599..=93_599) {
            let zone = TimeZone::fixed(jiff::tz::Offset::from_seconds(offset).unwrap());
            let expected = Timestamp::from_nanosecond(i128::from(wall_ns)).unwrap();
            // The fraction of an instant does not depend on the zone, and is cut, not rounded.
            let civil = zone.to_datetime(expected);
            let mut clock = LocalClock::new(zone);
            let (day, text) = clock.format(wall_ns);
            let micros = wall_ns.rem_euclid(NS_PER_SECOND) / 1000;
            prop_assert_eq!(text, format!("{}.{micros:06}", civil.strftime("%H:%M:%S")));
            let date = format!("{} ", civil.date());
            prop_assert!(day.to_string().starts_with(&date), "{day} is not {date}");
        }
    }

    #[test]
    fn a_fraction_does_not_leak_into_the_next_line() {
        let mut stamp = UtcStamp::default();
        assert_eq!(stamp.format(999_999_999), "1970-01-01T00:00:00.999999999Z");
        assert_eq!(stamp.format(1), "1970-01-01T00:00:00.000000001Z");
        assert_eq!(stamp.format(-1), "1969-12-31T23:59:59.999999999Z");
    }

    #[test]
    fn offsets_follow_the_zone() {
        // Central European Time by its rule: summer time began on 2026-03-29 at 01:00 UTC.
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let mut clock = LocalClock::new(zone);
        let change = 1_774_746_000 * NS_PER_SECOND;
        let (day, text) = clock.format(change - 1);
        assert_eq!(
            (day.to_string().as_str(), text),
            ("2026-03-29 +01:00", "01:59:59.999999")
        );
        let (day, text) = clock.format(change);
        assert_eq!(
            (day.to_string().as_str(), text),
            ("2026-03-29 +02:00", "03:00:00.000000")
        );
        let west = TimeZone::fixed(jiff::tz::Offset::from_seconds(-12_645).unwrap());
        let (day, _) = LocalClock::new(west).format(0).to_owned();
        assert_eq!(day.to_string(), "1969-12-31 -03:30:45");
    }

    #[test]
    fn durations_for_people() {
        let cases: [(u64, &str); 15] = [
            (0, "0ns"),
            (999, "999ns"),
            (35_999, "35us"),
            (999_999, "999us"),
            (1_203_999, "1.203ms"),
            (12_039_999, "12.03ms"),
            (999_999_999, "999.9ms"),
            (1_000_000_000, "1.000s"),
            (12_419_999_999, "12.41s"),
            (59_999_999_999, "59.99s"),
            (60_000_000_000, "1m00s"),
            (3_599_999_999_999, "59m59s"),
            (10_920_000_000_000, "3h02m"),
            (48 * 3_600_000_000_000, "2d00h"),
            (u64::MAX, "213503d23h"),
        ];
        for (ns, expected) in cases {
            assert_eq!(human(ns).to_string(), expected, "{ns} ns");
        }
    }
}
