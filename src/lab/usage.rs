//! What processes and the whole machine use, as the kernel counts it.

use std::{fs, time::Duration};

use super::LabError;

/// A tick of `/proc`'s clocks: they count in hundredths of a second whatever the kernel's own tick is.
const TICK: Duration = Duration::from_millis(10);

/// What a process has used up to now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time of all its threads, in its own code and in the kernel on its behalf.
    pub cpu: Duration,
    /// Resident memory now, in octets.
    pub resident: u64,
    /// The most resident memory it ever had, in octets.
    pub peak: u64,
}

impl Usage {
    /// Asks about a running process.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(pid: u32) -> Result<Self, LabError> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            fs::read_to_string(&path).map_err(LabError::io(format!("read {path}")))
        };
        let (stat, status) = (read("stat")?, read("status")?);
        let cpu = cpu(&stat).ok_or_else(|| LabError::check(format!("/proc/{pid}/stat is not understood")))?;
        Ok(Self { cpu, resident: memory(&status, "VmRSS:"), peak: memory(&status, "VmHWM:") })
    }
}

/// What all processors have done up to now, summed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Machine {
    /// Doing anything, interrupts included.
    pub busy: Duration,
    /// Doing nothing.
    pub idle: Duration,
    /// Taken by the host for somebody else.
    pub stolen: Duration,
}

impl Machine {
    /// Reads the clocks.
    ///
    /// # Errors
    /// `/proc/stat` cannot be read.
    pub fn now() -> Result<Self, LabError> {
        let text = fs::read_to_string("/proc/stat").map_err(LabError::io("read /proc/stat"))?;
        machine(&text).ok_or_else(|| LabError::check("/proc/stat is not understood"))
    }

    /// What was done since an earlier reading.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            busy: self.busy.saturating_sub(earlier.busy),
            idle: self.idle.saturating_sub(earlier.idle),
            stolen: self.stolen.saturating_sub(earlier.stolen),
        }
    }
}

fn ticks(count: u64) -> Duration {
    TICK.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
}

/// The fields `utime` and `stime`; the name before them may hold anything.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(ticks(user.saturating_add(system)))
}

fn memory(status: &str, field: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0).saturating_mul(1024)
}

fn machine(stat: &str) -> Option<Machine> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    let [user, nice, system, idle, waiting, interrupt, soft, stolen, ..] = *fields.as_slice() else {
        return None;
    };
    Some(Machine {
        busy: ticks(user + nice + system + interrupt + soft),
        idle: ticks(idle + waiting),
        stolen: ticks(stolen),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 120 30 0 0 20 0 1 0 99";
        assert_eq!(cpu(stat), Some(Duration::from_millis(1500)));
        assert_eq!(cpu("7 (a"), None);
    }

    #[test]
    fn memory_is_told_in_octets() {
        assert_eq!(memory("VmHWM:\t     12 kB\nVmRSS:\t 8 kB\n", "VmRSS:"), 8192);
        assert_eq!(memory("", "VmRSS:"), 0);
    }

    #[test]
    fn waiting_is_idle_and_interrupts_are_work() {
        let clocks = machine("cpu  1 2 3 100 10 4 5 6 0 0\ncpu0 1 2 3\n").unwrap();
        assert_eq!(
            (clocks.busy, clocks.idle, clocks.stolen),
            (Duration::from_millis(150), Duration::from_millis(1100), Duration::from_millis(60))
        );
    }

    #[test]
    fn this_process_has_memory() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.resident > 0 && usage.peak >= usage.resident / 2);
    }
}
