//! Values as Go's flags have them, since etcd's users write them so.

use std::time::Duration;

/// `true`, `1`, `F` and their like.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("write true or false".to_owned()),
    }
}

/// `1h2m3.5s`, `300ms`, `0`, as milliseconds.
pub(crate) fn duration_ms(text: &str) -> Result<u64, String> {
    let nanos = duration(text).ok_or("write a duration such as 10m, 1h30m or 500ms")?.as_millis();
    u64::try_from(nanos).map_err(|_| "it is longer than time".to_owned())
}

fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let number_ends = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(number_ends);
        let unit_ends = behind.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, behind) = behind.split_at(unit_ends.unwrap_or(behind.len()));
        let nanos: u64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        sum = sum.checked_add(times(number, nanos)?)?;
        rest = behind;
    }
    (!text.is_empty()).then_some(sum)
}

/// A decimal number of some nanoseconds.
fn times(number: &str, nanos: u64) -> Option<Duration> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && part.is_empty() {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = whole.checked_mul(nanos)?;
    let mut place = nanos;
    for digit in part.bytes() {
        place /= 10;
        total = total.checked_add(place.checked_mul(u64::from(digit.checked_sub(b'0')?))?)?;
    }
    Some(Duration::from_nanos(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_in_go() {
        let check = |text: &str, expect: Option<u64>| {
            assert_eq!(duration_ms(text).ok(), expect, "{text}");
        };
        check("10m", Some(600_000));
        check("1h2m3.5s", Some(3_723_500));
        check("300ms", Some(300));
        check("0", Some(0));
        check("0s", Some(0));
        check("60000000000ns", Some(60_000));
        check(".5s", Some(500));
        check("5", None);
        check("", None);
        check("s", None);
        check("-1s", None);
        check("1d", None);
        check("99999999999h", None);
    }

    #[test]
    fn booleans_are_written_as_in_go() {
        assert_eq!((boolean("T"), boolean("0")), (Ok(true), Ok(false)));
        assert!(boolean("yes").is_err());
    }
}
