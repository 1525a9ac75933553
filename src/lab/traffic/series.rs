//! Echo requests at a steady pace, and how long each took.

use std::{
    io::{self, Read},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use super::ping::{checksum, identifier, open};
use crate::lab::{LabError, namespace::Namespace};

/// How long the last replies are waited for.
const QUIET: Duration = Duration::from_millis(200);

/// What became of a series of echo requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Series {
    /// Requests sent.
    pub sent: usize,
    /// How long each answered one took, the shortest first.
    pub times: Vec<Duration>,
    /// From the call to the first reply.
    pub first: Option<Duration>,
}

impl Series {
    /// The time that so many hundredths of the replies did not exceed.
    pub fn percentile(&self, hundredths: usize) -> Option<Duration> {
        let last = self.times.len().checked_sub(1)?;
        self.times.get((last * hundredths.min(100)).div_ceil(100)).copied()
    }

    /// The average time.
    pub fn average(&self) -> Option<Duration> {
        let count = u32::try_from(self.times.len()).ok().filter(|count| *count > 0)?;
        Some(self.times.iter().sum::<Duration>() / count)
    }
}

/// Sends requests with 56 octets of payload over IPv4 every `interval` for `duration`, whether or not they are
/// answered.
///
/// # Errors
/// No socket can be opened, or `to` is no IPv4 address.
pub fn run(from: &Namespace, to: IpAddr, interval: Duration, duration: Duration) -> Result<Series, LabError> {
    from.run(|| pace(to, interval, duration, false))
}

/// As [`run`], up to the first reply.
///
/// # Errors
/// As [`run`].
pub fn until_first(
    from: &Namespace,
    to: IpAddr,
    interval: Duration,
    patience: Duration,
) -> Result<Series, LabError> {
    from.run(|| pace(to, interval, patience, true))
}

fn pace(to: IpAddr, interval: Duration, duration: Duration, once: bool) -> Result<Series, LabError> {
    if !to.is_ipv4() {
        return Err(LabError::check(format!("no IPv4 address: {to}")));
    }
    let mut socket = open(to).map_err(LabError::io("open an ICMP socket"))?;
    let target = SocketAddr::new(to, 0).into();
    let identifier = identifier();
    let begun = Instant::now();
    let (mut series, mut pending) = (Series::default(), Vec::<Option<Instant>>::new());
    let mut buffer = [0_u8; 2048];
    loop {
        let now = Instant::now();
        let due = begun + interval * u32::try_from(pending.len()).unwrap_or(u32::MAX);
        let over = now - begun >= duration || pending.len() > usize::from(u16::MAX);
        if !over && now >= due {
            let number = u16::try_from(pending.len()).unwrap_or(u16::MAX);
            let request = request(identifier, number);
            pending.push(Some(Instant::now()));
            // Where there is no route yet this fails; the next one may pass.
            let _ = socket.send_to(&request, &target);
            series.sent += 1;
            continue;
        }
        let wake = if over { begun + duration + QUIET } else { due };
        let left = wake.saturating_duration_since(now);
        let answered = series.times.len() == pending.len() || (once && series.first.is_some());
        if left.is_zero() || (over && answered) || (once && series.first.is_some()) {
            break;
        }
        socket
            .set_read_timeout(Some(left.max(Duration::from_micros(50))))
            .map_err(LabError::io("set a timeout"))?;
        let length = match socket.read(&mut buffer) {
            Ok(length) => length,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                ) =>
            {
                continue;
            }
            Err(error) => return Err(LabError::io("wait for echo replies")(error)),
        };
        let arrived = Instant::now();
        let number = buffer.get(..length).and_then(|packet| reply(packet, identifier));
        let sent = number.and_then(|number| pending.get_mut(usize::from(number))?.take());
        if let Some(sent) = sent {
            series.first.get_or_insert(arrived - begun);
            series.times.push(arrived - sent);
        }
    }
    series.times.sort_unstable();
    Ok(series)
}

fn request(identifier: u16, number: u16) -> Vec<u8> {
    let mut request = vec![8, 0, 0, 0];
    request.extend(identifier.to_be_bytes());
    request.extend(number.to_be_bytes());
    request.extend(super::marked(56));
    let sum = checksum(&request).to_be_bytes();
    request.splice(2..4, sum);
    request
}

/// The number of the request that an IPv4 packet answers.
fn reply(packet: &[u8], identifier: u16) -> Option<u16> {
    let message = packet.get(usize::from(packet.first()? & 0x0f) * 4..)?;
    let word = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    (*message.first()? == 0 && word(4)? == identifier).then(|| word(6)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_tells_which_request_it_answers() {
        let mut packet = vec![0x45; 20];
        packet.extend(request(7, 258));
        assert_eq!(reply(&packet, 7), None, "a request is no reply");
        packet[20] = 0;
        assert_eq!(reply(&packet, 7), Some(258));
        assert_eq!(reply(&packet, 8), None);
        assert_eq!(reply(&packet[..26], 7), None);
    }

    #[test]
    fn percentiles_are_times_that_occurred() {
        let times: Vec<Duration> = (1..=100).map(Duration::from_micros).collect();
        let series = Series { sent: 100, times, first: None };
        assert_eq!(series.percentile(0), Some(Duration::from_micros(1)));
        assert_eq!(series.percentile(50), Some(Duration::from_micros(51)));
        assert_eq!(series.percentile(99), Some(Duration::from_micros(100)));
        assert_eq!(Series::default().percentile(50), None);
    }
}
