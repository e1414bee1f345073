//! A moment as a calendar date in UTC, and the two spellings that logs use.
//!
//! No time zones and no clock: the caller brings the time. Years 1970 to 9999; what is outside is
//! shown as the nearest of these.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 9999-12-31T23:59:59 in seconds since 1970.
const SECONDS_MAX: u64 = 253_402_300_799;
const SECONDS_PER_DAY: u64 = 86_400;
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// Date and time of day in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    year: u16,
    /// 1 to 12.
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
    milli: u16,
}

impl Civil {
    /// The date of `time`.
    pub fn from_system_time(time: SystemTime) -> Self {
        Self::from_unix(time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
    }

    /// The date this long after 1970-01-01T00:00:00Z.
    pub fn from_unix(since_epoch: Duration) -> Self {
        let seconds = since_epoch.as_secs().min(SECONDS_MAX);
        let (days, rest) = (seconds / SECONDS_PER_DAY, seconds % SECONDS_PER_DAY);
        // Howard Hinnant's `civil_from_days`, for years that begin in March so that the leap day
        // is the last: days since 0000-03-01, which lies 719,468 days before 1970.
        let days = days + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        Self {
            year: u16::try_from(year).unwrap_or(9999),
            month: small(month),
            day: small(day),
            hour: small(rest / 3_600),
            minute: small(rest / 60 % 60),
            second: small(rest % 60),
            milli: u16::try_from(since_epoch.subsec_millis()).unwrap_or(999),
        }
    }

    /// Appends `2026-11-24T14:56:02.123Z` (RFC 3339).
    pub fn write_rfc3339(&self, out: &mut Vec<u8>) {
        four_digits(self.year, out);
        for (separator, value) in [
            (b'-', self.month),
            (b'-', self.day),
            (b'T', self.hour),
            (b':', self.minute),
            (b':', self.second),
        ] {
            out.push(separator);
            two_digits(value, out);
        }
        out.push(b'.');
        out.push(digit(self.milli / 100));
        out.push(digit(self.milli / 10));
        out.push(digit(self.milli));
        out.push(b'Z');
    }

    /// Appends `24/Nov/2026:14:56:02 +0000`, the common log format's time.
    pub fn write_common_log(&self, out: &mut Vec<u8>) {
        two_digits(self.day, out);
        out.push(b'/');
        out.extend_from_slice(MONTHS[usize::from(self.month - 1)]);
        out.push(b'/');
        four_digits(self.year, out);
        for value in [self.hour, self.minute, self.second] {
            out.push(b':');
            two_digits(value, out);
        }
        out.extend_from_slice(b" +0000");
    }
}

/// A value that the calendar bounds far below 256.
fn small(value: u64) -> u8 {
    debug_assert!(value < 100);
    u8::try_from(value).unwrap_or(u8::MAX)
}

/// The last decimal digit.
fn digit(value: u16) -> u8 {
    b'0' + u8::try_from(value % 10).unwrap_or(0)
}

fn two_digits(value: u8, out: &mut Vec<u8>) {
    out.push(b'0' + value / 10 % 10);
    out.push(b'0' + value % 10);
}

fn four_digits(value: u16, out: &mut Vec<u8>) {
    for unit in [1_000, 100, 10, 1] {
        out.push(digit(value / unit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(seconds: u64, millis: u64) -> (String, String) {
        let civil = Civil::from_unix(Duration::from_millis(seconds * 1_000 + millis));
        let (mut rfc, mut clf) = (Vec::new(), Vec::new());
        civil.write_rfc3339(&mut rfc);
        civil.write_common_log(&mut clf);
        (String::from_utf8(rfc).unwrap(), String::from_utf8(clf).unwrap())
    }

    #[test]
    fn known_dates_have_both_spellings() {
        // `date -u -d @N`
        for (seconds, rfc, clf) in [
            (0, "1970-01-01T00:00:00.007Z", "01/Jan/1970:00:00:00 +0000"),
            (951_782_399, "2000-02-28T23:59:59.007Z", "28/Feb/2000:23:59:59 +0000"),
            (951_782_400, "2000-02-29T00:00:00.007Z", "29/Feb/2000:00:00:00 +0000"),
            (1_709_251_199, "2024-02-29T23:59:59.007Z", "29/Feb/2024:23:59:59 +0000"),
            (1_767_225_599, "2025-12-31T23:59:59.007Z", "31/Dec/2025:23:59:59 +0000"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z", "01/Mar/2100:00:00:00 +0000"),
            (SECONDS_MAX, "9999-12-31T23:59:59.007Z", "31/Dec/9999:23:59:59 +0000"),
        ] {
            assert_eq!(both(seconds, 7), (rfc.to_owned(), clf.to_owned()));
        }
    }

    #[test]
    fn each_day_of_four_centuries_follows_the_one_before() {
        let mut last = Civil::from_unix(Duration::ZERO);
        for day in 1..146_097 {
            let civil = Civil::from_unix(Duration::from_secs(day * SECONDS_PER_DAY));
            let next_day =
                (civil.year, civil.month) == (last.year, last.month) && civil.day == last.day + 1;
            let next_month = civil.day == 1
                && last.day >= 28
                && u32::from(civil.year) * 12 + u32::from(civil.month)
                    == u32::from(last.year) * 12 + u32::from(last.month) + 1;
            assert!(next_day || next_month, "{last:?} then {civil:?}");
            last = civil;
        }
    }

    #[test]
    fn times_outside_the_calendar_show_its_ends() {
        assert_eq!(both(u64::MAX / 2_000, 0).0, "9999-12-31T23:59:59.000Z");
        let before = UNIX_EPOCH - Duration::from_secs(5);
        assert_eq!(Civil::from_system_time(before), Civil::from_unix(Duration::ZERO));
    }
}
