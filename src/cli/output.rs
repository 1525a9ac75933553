//! How answers and failures are printed.

use std::fmt::Display;
use std::process::ExitCode;

/// Prints a failure on standard error and gives the exit status for it.
pub(super) fn failed(error: impl Display) -> ExitCode {
    eprintln!("skybridge: {error}");
    ExitCode::from(1)
}

/// Prints a usage or configuration error and gives the exit status for it.
pub(super) fn wrong(error: impl Display) -> ExitCode {
    eprintln!("skybridge: {error}");
    ExitCode::from(2)
}

/// Prints `text` with a final line break; a reader that went away is no failure.
pub(super) fn answer(text: &str) -> ExitCode {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => failed(format!("cannot write the answer: {error}")),
    }
}

/// Seconds as people read them: `45s`, `3m20s`, `5h02m`, `12d03h`.
pub(super) fn duration(seconds: u64) -> String {
    let (m, h, d) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{m}m{:02}s", seconds % 60),
        3600..86_400 => format!("{h}h{:02}m", m % 60),
        _ => format!("{d}d{:02}h", h % 24),
    }
}

/// A number with its noun.
pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Octets as people read them, in powers of 1024.
pub(super) fn octets(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// Runs one asynchronous command to its end on this thread.
pub(super) fn block_on<F: Future>(future: F) -> Result<F::Output, std::io::Error> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m00s"),
            (3_599, "59m59s"),
            (18_120, "5h02m"),
            (1_047_600, "12d03h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn octets_scale_by_1024() {
        for (count, text) in [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 << 30, "5.0 GiB")] {
            assert_eq!(octets(count), text);
        }
    }
}
