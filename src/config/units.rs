//! Durations and sizes as they are written: `90s`, `1h30m`, `100GiB`.

use std::time::Duration;

/// Reads `50us`, `500ms`, `90s`, `5m`, `1h30m`, `2d`. At most ten years.
///
/// # Errors
/// What would be right.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a duration such as \"30s\", \"5m\", \"1h30m\" or \"500ms\"".to_owned();
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, after) = rest.split_at_checked(digits).ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(letters).ok_or_else(wrong)?;
        let micros = match unit {
            "us" => 1,
            "ms" => 1_000,
            "s" => 1_000_000,
            "m" | "min" => 60_000_000,
            "h" => 3_600_000_000,
            "d" => 86_400_000_000,
            _ => return Err(wrong()),
        };
        let part = number.checked_mul(micros).ok_or_else(wrong)?;
        total = total.checked_add(Duration::from_micros(part)).ok_or_else(wrong)?;
        rest = after.trim_start();
    }
    if total > Duration::from_secs(10 * 366 * 86_400) {
        return Err("that is more than ten years".to_owned());
    }
    Ok(total)
}

/// Reads `4096`, `100MB`, `100MiB`, `1GiB`: octets.
///
/// # Errors
/// What would be right.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wrong = || "write a size such as \"500MiB\", \"100GiB\" or \"1TB\"".to_owned();
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_add_up() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration(" 2d 1s "), Ok(Duration::from_secs(172_801)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "30",
            "s",
            "30 s",
            "1w",
            "-1s",
            "1.5h",
            "99999999999999999999s",
            "18446744073709551615d",
            "9999d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        assert_eq!(size("1GiB"), Ok(1 << 30));
        assert_eq!(size("100 MB"), Ok(100_000_000));
        assert_eq!(size("42"), Ok(42));
        for text in ["", "GiB", "1.5GiB", "1gib", "99999999TiB", "-1"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
