//! IMF-fixdate (RFC 9110 §5.6.7), the only date format that may be sent.
//!
//! Pure arithmetic over seconds that the caller has read from a clock; a shard formats once a
//! second and copies the text.

/// Bytes of an IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub const DATE_BYTES: usize = 29;

/// A formatted date, without allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateText([u8; DATE_BYTES]);

impl DateText {
    /// The date of `unix` seconds since 1970-01-01 00:00:00 UTC. Years beyond 9999 have no
    /// format and read as the last second of 9999.
    pub fn from_unix(unix: u64) -> Self {
        let unix = unix.min(LAST_SECOND);
        let (days, second) = (unix / DAY, unix % DAY);
        let (year, month, day) = civil(days);
        let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
        // 1970-01-01 was a Thursday.
        put(&mut text, 0, name(WEEKDAYS, (days + 4) % 7));
        put(&mut text, 5, &two(day));
        put(&mut text, 8, name(MONTHS, month - 1));
        put(&mut text, 12, &two(year / 100));
        put(&mut text, 14, &two(year % 100));
        put(&mut text, 17, &two(second / 3600));
        put(&mut text, 20, &two(second / 60 % 60));
        put(&mut text, 23, &two(second % 60));
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("")
    }
}

/// Year, month and day of a day since 1970-01-01, in the proleptic Gregorian calendar.
///
/// Counts from March so that the leap day is a year's last, in eras of 400 years.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_TO_1970;
    let era = days / ERA;
    let day_of_era = days % ERA;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

const DAY: u64 = 86_400;
/// Days in 400 years.
const ERA: u64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: u64 = 719_468;
/// 9999-12-31 23:59:59.
const LAST_SECOND: u64 = 253_402_300_799;
const WEEKDAYS: &[u8] = b"SunMonTueWedThuFriSat";
const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

fn name(names: &[u8], index: u64) -> &[u8] {
    let start = usize::try_from(index).unwrap_or(0) * 3;
    names.get(start..start + 3).unwrap_or(b"???")
}

fn two(n: u64) -> [u8; 2] {
    let digit = |n: u64| b'0' + u8::try_from(n % 10).unwrap_or(0);
    [digit(n / 10), digit(n)]
}

fn put(text: &mut [u8; DATE_BYTES], at: usize, bytes: &[u8]) {
    if let Some(place) = text.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates_come_out_right() {
        for (unix, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_827_696, "Tue, 29 Feb 2000 12:34:56 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (LAST_SECOND, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(DateText::from_unix(unix).as_str(), text);
        }
    }

    /// Day after day for 400 years the calendar goes on without a gap.
    #[test]
    fn days_follow_each_other() {
        let mut last = civil(0);
        for days in 1..ERA {
            let now = civil(days);
            let leap = now.0.is_multiple_of(4)
                && (!now.0.is_multiple_of(100) || now.0.is_multiple_of(400));
            let next_day = now.2 == last.2 + 1 && (now.0, now.1) == (last.0, last.1);
            let length = [31, 28 + u64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            let turned = last.2 == length[usize::try_from(last.1).unwrap() - 1]
                && now.2 == 1
                && (now.1 == last.1 + 1 || now.1 == 1);
            assert!(next_day || turned, "{last:?} then {now:?}");
            last = now;
        }
    }
}
