//! Points in time, as people write them. Not here: what happened then.

use jiff::{SignedDuration, Timestamp};

/// Longest text that is looked at, in bytes.
const MAX_BYTES: usize = 64;

/// A text that is no point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("takes a date (2026-01-30T12:00:00Z) or an age (30s, 15m, 2h, 3d)")]
pub struct BadMoment;

/// Reads an RFC 3339 date, or an age: a whole number of seconds, minutes, hours or days before `now`.
pub fn parse_moment(text: &str, now: Timestamp) -> Result<Timestamp, BadMoment> {
    if text.len() > MAX_BYTES {
        return Err(BadMoment);
    }
    let text = text.trim();
    match age(text.strip_suffix("ago").unwrap_or(text).trim_end()) {
        Some(age) => now.checked_sub(age).map_err(|_| BadMoment),
        None => text.parse().map_err(|_| BadMoment),
    }
}

fn age(text: &str) -> Option<SignedDuration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let number: i64 = number.parse().ok()?;
    number.checked_mul(seconds).map(SignedDuration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_ages_are_points_in_time() {
        let now: Timestamp = "2026-01-30T12:00:00Z".parse().unwrap();
        for (text, moment) in [
            ("2026-01-29T10:00:00Z", "2026-01-29T10:00:00Z"),
            ("2026-01-29T10:00:00.5+02:00", "2026-01-29T08:00:00.5Z"),
            ("0s", "2026-01-30T12:00:00Z"),
            ("90s", "2026-01-30T11:58:30Z"),
            ("15m", "2026-01-30T11:45:00Z"),
            (" 2h ago", "2026-01-30T10:00:00Z"),
            ("3dago", "2026-01-27T12:00:00Z"),
        ] {
            assert_eq!(parse_moment(text, now), Ok(moment.parse().unwrap()), "{text}");
        }
        let long = format!("{}s", "0".repeat(MAX_BYTES));
        for wrong in [
            "",
            "ago",
            "soon",
            "15",
            "-5m",
            "1.5h",
            "5 weeks",
            "m",
            "2026-01-29",
            "2026-01-29T10:00:00",
            "9223372036854775807d",
            "9999999999999s",
            "99999999999999999999s",
            "2026-13-01T00:00:00Z",
            &long,
        ] {
            assert_eq!(parse_moment(wrong, now), Err(BadMoment), "{wrong}");
        }
    }
}
