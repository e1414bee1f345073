//! Quantities with a unit in text: durations, byte sizes, speeds, rates.
//!
//! Each has one grammar, one canonical form that parses back to the same value, and an error that
//! shows what would be right. Where a text came from is the caller's to say.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes. Text: `"64"`, `"16KiB"`, `"10MiB"`, `"1GiB"`, `"500kB"`, `"2MB"`, `"1GB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

/// Bytes a second, at least 1. Text: `"240B/s"`, `"1KiB/s"`, `"2MB/s"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteRate(pub u64);

/// So many per so long. Text: `"100/min"`, `"10/s"`, `"5000/h"`, `"20/10s"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// At least 1.
    pub count: u32,
    /// More than zero, at most a day.
    pub per: Duration,
}

/// A text that isn't the quantity it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// See [`parse_duration`].
    #[error("isn't a duration, such as `30s`, `250ms` or `1h30m`")]
    Duration,
    /// See [`ByteSize`].
    #[error("isn't a size, such as `16KiB`, `10MiB` or `1GiB`")]
    Size,
    /// See [`ByteRate`].
    #[error("isn't a speed, such as `240B/s` or `1KiB/s`")]
    Speed,
    /// See [`Rate`].
    #[error("isn't a rate, such as `100/min` or `10/s`")]
    Rate,
}

/// Parses `"250ms"`, `"30s"`, `"1h"`, `"1m30s"`, `"1.5s"`; units `us`, `ms`, `s`, `m`, `h`, `d`,
/// each at most once and from the greatest down. `"0s"` is a duration too; whether zero makes
/// sense is the caller's to say. At most 365 days, finer than a nanosecond is cut off.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let mut nanos: u64 = 0;
    let mut smallest = u64::MAX;
    let mut rest = text;
    while !rest.is_empty() {
        let (whole, fraction, after) = decimal(rest).ok_or(UnitError::Duration)?;
        let length = after.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(after.len());
        let (unit, after) = after.split_at(length);
        let (_, scale) =
            DURATION_UNITS.iter().find(|(name, _)| *name == unit).ok_or(UnitError::Duration)?;
        if *scale >= smallest {
            return Err(UnitError::Duration);
        }
        smallest = *scale;
        nanos = scaled(whole, fraction, *scale)
            .and_then(|part| nanos.checked_add(part))
            .ok_or(UnitError::Duration)?;
        rest = after;
    }
    if smallest == u64::MAX || nanos > DURATION_MAX_NANOS {
        return Err(UnitError::Duration);
    }
    Ok(Duration::from_nanos(nanos))
}

/// A duration in its canonical text: `"1m30s"`, `"250ms"`, `"0s"`; [`parse_duration`] gives it back
/// as long as it is made of whole microseconds and not longer than a year.
pub fn format_duration(duration: Duration) -> String {
    let mut micros = duration.as_micros();
    if micros == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, nanos) in DURATION_UNITS {
        let scale = u128::from(nanos / 1_000);
        if micros >= scale {
            text.push_str(&format!("{}{unit}", micros / scale));
            micros %= scale;
        }
    }
    text
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (whole, fraction, unit) = decimal(text).ok_or(UnitError::Size)?;
        let unit = unit.strip_prefix(' ').unwrap_or(unit);
        let (_, scale) =
            SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or(UnitError::Size)?;
        if *scale == 1 && fraction != (0, 1) {
            return Err(UnitError::Size);
        }
        scaled(whole, fraction, *scale).map(Self).ok_or(UnitError::Size)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, scale) in BINARY_UNITS {
            if self.0 >= scale && self.0.is_multiple_of(scale) {
                return write!(f, "{}{unit}", self.0 / scale);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl ByteRate {
    /// How long `bytes` take at this speed.
    #[must_use]
    pub fn time(self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.0.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl FromStr for ByteRate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let size = text.strip_suffix("/s").ok_or(UnitError::Speed)?;
        let has_unit = size.ends_with('B');
        let ByteSize(bytes) = size.parse().map_err(|_| UnitError::Speed)?;
        if has_unit { Ok(Self(bytes)) } else { Err(UnitError::Speed) }
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = ByteSize(self.0).to_string();
        let unit = if size.ends_with('B') { "" } else { "B" };
        write!(f, "{size}{unit}/s")
    }
}

impl Rate {
    /// How many a second, rounded down.
    #[must_use]
    pub fn per_second(self) -> u32 {
        let millis = self.per.as_millis().max(1);
        u32::try_from(u128::from(self.count) * 1_000 / millis).unwrap_or(u32::MAX)
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (count, per) = text.split_once('/').ok_or(UnitError::Rate)?;
        if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(UnitError::Rate);
        }
        let count: u32 = count.parse().map_err(|_| UnitError::Rate)?;
        let per = match per {
            "s" | "sec" | "second" => Duration::from_secs(1),
            "m" | "min" | "minute" => Duration::from_secs(60),
            "h" | "hour" => Duration::from_secs(3_600),
            "d" | "day" => Duration::from_secs(86_400),
            other => parse_duration(other).map_err(|_| UnitError::Rate)?,
        };
        if count == 0 || per < Duration::from_millis(1) || per > Duration::from_secs(86_400) {
            return Err(UnitError::Rate);
        }
        Ok(Self { count, per })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.per.as_millis() {
            1_000 => write!(f, "{}/s", self.count),
            60_000 => write!(f, "{}/min", self.count),
            3_600_000 => write!(f, "{}/h", self.count),
            86_400_000 => write!(f, "{}/day", self.count),
            _ => write!(f, "{}/{}", self.count, format_duration(self.per)),
        }
    }
}

/// Splits `12.5rest` into 12, (5, 10) and `rest`; at most nine digits behind the point.
fn decimal(text: &str) -> Option<(u64, (u64, u64), &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let whole = text[..digits].parse().ok()?;
    let rest = &text[digits..];
    let Some(fraction) = rest.strip_prefix('.') else { return Some((whole, (0, 1), rest)) };
    let digits = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
    if digits > 9 {
        return None;
    }
    let value = fraction[..digits].parse().ok()?;
    let scale = (0..digits).fold(1, |scale, _| scale * 10);
    Some((whole, (value, scale), &fraction[digits..]))
}

/// `whole.fraction * scale`, cut to a whole number; `None` if it doesn't fit.
fn scaled(whole: u64, (fraction, fraction_scale): (u64, u64), scale: u64) -> Option<u64> {
    let part = u128::from(fraction) * u128::from(scale) / u128::from(fraction_scale);
    whole.checked_mul(scale)?.checked_add(u64::try_from(part).ok()?)
}

/// The longest duration in text: a year.
const DURATION_MAX_NANOS: u64 = 365 * 86_400 * 1_000_000_000;

const DURATION_UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
];

const BINARY_UNITS: [(&str, u64); 4] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

const SIZE_UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_parse_and_format_back() {
        for (text, micros, canonical) in [
            ("250ms", 250_000, "250ms"),
            ("30s", 30_000_000, "30s"),
            ("90s", 90_000_000, "1m30s"),
            ("1m30s", 90_000_000, "1m30s"),
            ("1h", 3_600_000_000, "1h"),
            ("1.5s", 1_500_000, "1s500ms"),
            ("24h", 86_400_000_000, "1d"),
            ("0s", 0, "0s"),
            ("500us", 500, "500us"),
        ] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration, Duration::from_micros(micros), "{text}");
            assert_eq!(format_duration(duration), canonical, "{text}");
            assert_eq!(parse_duration(canonical).unwrap(), duration, "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "10",
            "10x",
            "s",
            "-1s",
            "1s1s",
            "1s1m",
            "1 s",
            "1.s",
            "1..5s",
            ".5s",
            "1S",
            "366d",
            "99999999999999999999s",
            "1.0000000001s",
            "10\u{b5}s",
            "١s",
        ] {
            assert_eq!(parse_duration(text), Err(UnitError::Duration), "{text:?}");
        }
    }

    #[test]
    fn sizes_parse_and_format_back() {
        for (text, bytes, canonical) in [
            ("0", 0, "0"),
            ("64", 64, "64"),
            ("16KiB", 16 << 10, "16KiB"),
            ("16 KiB", 16 << 10, "16KiB"),
            ("1.5KiB", 1536, "1536"),
            ("10MiB", 10 << 20, "10MiB"),
            ("1024MiB", 1 << 30, "1GiB"),
            ("500kB", 500_000, "500000"),
            ("2TB", 2_000_000_000_000, "1953125000KiB"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size, ByteSize(bytes), "{text}");
            assert_eq!(size.to_string(), canonical, "{text}");
            assert_eq!(canonical.parse(), Ok(size), "{text}");
        }
        for text in ["", "KiB", "16KB", "16kib", "16K", "-1", "1.5", "1.5B", "99999999999TiB"] {
            assert_eq!(text.parse::<ByteSize>(), Err(UnitError::Size), "{text:?}");
        }
    }

    #[test]
    fn rates_parse_and_format_back() {
        for (text, count, seconds, canonical) in [
            ("100/min", 100, 60, "100/min"),
            ("100/m", 100, 60, "100/min"),
            ("10/s", 10, 1, "10/s"),
            ("5/h", 5, 3_600, "5/h"),
            ("5/day", 5, 86_400, "5/day"),
            ("20/10s", 20, 10, "20/10s"),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate, Rate { count, per: Duration::from_secs(seconds) }, "{text}");
            assert_eq!(rate.to_string(), canonical, "{text}");
            assert_eq!(canonical.parse(), Ok(rate), "{text}");
        }
        for text in
            ["", "10", "/s", "0/s", "-1/s", "10/x", "10/0s", "10/2d", "99999999999/s", "+1/s"]
        {
            assert_eq!(text.parse::<Rate>(), Err(UnitError::Rate), "{text:?}");
        }
    }
}
