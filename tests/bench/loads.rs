//! What is sent through a product, and the figures that come of it.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use skybridge::lab::{
    LabError, Namespace,
    path::Path,
    traffic::{
        flood::{Flood, Offer},
        series::{self, Series},
        stream::Report,
    },
    usage::{Machine, Usage},
};

use crate::{
    products::{Running, client, server},
    streams::Streams,
};

/// Figures by their names; times are in seconds, rates in bits or packets a second.
pub type Figures = BTreeMap<String, f64>;

/// Time for TCP to find its window before anything is counted.
const WARM_UP: Duration = Duration::from_millis(400);
/// More than this is lost datagrams.
const TOLERATED_LOSS: f64 = 0.001;
/// A sender that reaches less of its rate than this is what limits, not the product.
const OFFERED: f64 = 0.93;

/// Which way a transfer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    There,
    /// From the server to the client.
    Back,
    /// Both at once.
    Both,
}

/// One load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Echo requests, a hundred a second, with nothing else to do.
    PingIdle,
    /// The same beside one TCP stream.
    PingLoaded,
    /// So many TCP streams each way.
    Tcp(usize, Way),
    /// Datagrams of this length at a fixed rate.
    UdpFixed(usize, u32),
    /// Datagrams of this length at the highest rate with hardly any lost.
    UdpMax(usize),
    /// The same from a sender that hands them over merged, as QUIC does.
    UdpMerged(usize),
}

impl Load {
    /// All, in the order in which they are run.
    pub const ALL: [Self; 16] = [
        Self::PingIdle,
        Self::Tcp(1, Way::There),
        Self::Tcp(1, Way::Back),
        Self::Tcp(1, Way::Both),
        Self::Tcp(4, Way::There),
        Self::Tcp(4, Way::Back),
        Self::Tcp(4, Way::Both),
        Self::Tcp(16, Way::There),
        Self::Tcp(16, Way::Back),
        Self::Tcp(16, Way::Both),
        Self::PingLoaded,
        Self::UdpFixed(64, 150_000),
        Self::UdpMax(64),
        Self::UdpMax(512),
        Self::UdpMax(1300),
        Self::UdpMerged(1300),
    ];

    /// Its name on the command line and in the JSON.
    pub fn name(self) -> String {
        match self {
            Self::PingIdle => "ping-idle".to_owned(),
            Self::PingLoaded => "ping-loaded".to_owned(),
            Self::Tcp(streams, Way::There) => format!("tcp{streams}"),
            Self::Tcp(streams, Way::Back) => format!("tcp{streams}-back"),
            Self::Tcp(streams, Way::Both) => format!("tcp{streams}-both"),
            Self::UdpFixed(length, rate) => format!("udp{length}-{}k", rate / 1000),
            Self::UdpMax(length) => format!("udp{length}"),
            Self::UdpMerged(length) => format!("udp{length}-merged"),
        }
    }

    /// Puts it on a product for about `time`. `hint` is the rate that an earlier round found, where one is looked for.
    ///
    /// # Errors
    /// A connection cannot be made or breaks, or a daemon has ended.
    pub fn run(
        self,
        path: &Path,
        running: &Running,
        time: Duration,
        hint: Option<f64>,
    ) -> Result<Figures, LabError> {
        match self {
            Self::PingIdle => {
                let begun = Before::now(running)?;
                let series = series::run(&path.client, server(), Duration::from_millis(10), time)?;
                let mut figures = begun.figures(running, 0, 0)?;
                latency(&mut figures, &series);
                Ok(figures)
            }
            Self::PingLoaded => ping_loaded(path, running, time),
            Self::Tcp(streams, way) => tcp(path, running, streams, way, time),
            Self::UdpFixed(length, rate) => {
                Ok(udp(path, running, Offer { rate, length, merged: false }, time)?.0)
            }
            Self::UdpMax(length) => {
                highest(path, running, Offer { rate: 0, length, merged: false }, time, hint)
            }
            Self::UdpMerged(length) => {
                highest(path, running, Offer { rate: 0, length, merged: true }, time, hint)
            }
        }
    }

    /// The figure that is told first, in words.
    pub fn headline(self, figures: &Figures) -> String {
        let figure = |name: &str| figures.get(name).copied().unwrap_or(f64::NAN);
        let cpus = format!("{:.2} of the machine's CPUs busy", figure("system"));
        match self {
            Self::PingIdle | Self::PingLoaded => format!(
                "avg {:.3} ms, p50 {:.3}, p99 {:.3}, {:.0} unanswered; {cpus}",
                figure("average") * 1e3,
                figure("p50") * 1e3,
                figure("p99") * 1e3,
                figure("unanswered"),
            ),
            Self::Tcp(..) => format!(
                "{:.2} Gbit/s, daemons {:.2} CPU-s/GB, machine {:.2}; {cpus}",
                figure("bits") / 1e9,
                figure("cpu_gb"),
                figure("system_gb"),
            ),
            Self::UdpFixed(..) | Self::UdpMax(_) | Self::UdpMerged(_) => format!(
                "{:.1} k/s of {:.1} k/s offered ({:.3} % lost, {:.0} reordered), daemons {:.2} CPU-s/Mpkt, machine {:.2}; {cpus}",
                figure("packets") / 1e3,
                figure("offered") / 1e3,
                figure("lost") * 100.0,
                figure("reordered"),
                figure("cpu_mpkt"),
                figure("system_mpkt"),
            ),
        }
    }
}

/// Clocks before a load.
struct Before {
    cpu: f64,
    machine: Machine,
    at: Instant,
}

fn cpu(running: &Running) -> Result<f64, LabError> {
    let mut sum = 0.0;
    for pid in &running.daemons {
        sum += Usage::of(*pid)?.cpu.as_secs_f64();
    }
    Ok(sum)
}

impl Before {
    fn now(running: &Running) -> Result<Self, LabError> {
        Ok(Self { cpu: cpu(running)?, machine: Machine::now()?, at: Instant::now() })
    }

    fn figures(&self, running: &Running, octets: u64, packets: u64) -> Result<Figures, LabError> {
        let seconds = self.at.elapsed().as_secs_f64();
        let cpu = cpu(running)? - self.cpu;
        let machine = Machine::now()?.since(self.machine);
        let mut figures = Figures::new();
        let mut put = |name: &str, value: f64| figures.insert(name.to_owned(), value);
        put("seconds", seconds);
        put("cpu", cpu / seconds);
        put("system", machine.busy.as_secs_f64() / seconds);
        put("stolen", machine.stolen.as_secs_f64() / seconds);
        if octets > 0 {
            let gigabytes = octets as f64 / 1e9;
            put("bits", octets as f64 * 8.0 / seconds);
            put("cpu_gb", cpu / gigabytes);
            put("system_gb", machine.busy.as_secs_f64() / gigabytes);
        }
        if packets > 0 {
            let millions = packets as f64 / 1e6;
            put("cpu_mpkt", cpu / millions);
            put("system_mpkt", machine.busy.as_secs_f64() / millions);
        }
        Ok(figures)
    }
}

fn latency(figures: &mut Figures, series: &Series) {
    let mut put = |name: &str, value: Option<Duration>| {
        if let Some(value) = value {
            figures.insert(name.to_owned(), value.as_secs_f64());
        }
    };
    put("average", series.average());
    put("p50", series.percentile(50));
    put("p99", series.percentile(99));
    figures.insert("unanswered".to_owned(), series.sent.saturating_sub(series.times.len()) as f64);
}

fn ping_loaded(path: &Path, running: &Running, time: Duration) -> Result<Figures, LabError> {
    let streams = Streams::start(&[(&path.client, &path.server, server())], 1)?;
    std::thread::sleep(WARM_UP);
    let (before, received) = (Before::now(running)?, streams.received());
    let series = series::run(&path.client, server(), Duration::from_millis(10), time)?;
    let mut figures = before.figures(running, streams.received() - received, 0)?;
    latency(&mut figures, &series);
    Ok(figures)
}

fn tcp(
    path: &Path,
    running: &Running,
    streams: usize,
    way: Way,
    time: Duration,
) -> Result<Figures, LabError> {
    let there: (&Namespace, &Namespace, IpAddr) = (&path.client, &path.server, server());
    let back = (&path.server, &path.client, client());
    let ways: &[_] = match way {
        Way::There => &[there],
        Way::Back => &[back],
        Way::Both => &[there, back],
    };
    let streams = Streams::start(ways, streams)?;
    std::thread::sleep(WARM_UP);
    let (before, earlier) = (Before::now(running)?, streams.received());
    std::thread::sleep(time);
    before.figures(running, streams.received().saturating_sub(earlier), 0)
}

fn udp(path: &Path, running: &Running, offer: Offer, time: Duration) -> Result<(Figures, Report), LabError> {
    let before = Before::now(running)?;
    let flood = Flood::start(&path.client, &path.server, server(), offer)?;
    std::thread::sleep(time);
    let report = flood.stop()?;
    let mut figures = before.figures(running, 0, report.received)?;
    let mut put = |name: &str, value: f64| figures.insert(name.to_owned(), value);
    put("offered", report.rate());
    put("packets", report.received as f64 / report.lasted.as_secs_f64());
    put("lost", report.lost() as f64 / (report.sent as f64).max(1.0));
    put("reordered", report.reordered as f64);
    put("duplicated", report.duplicated as f64);
    Ok((figures, report))
}

/// Raises the rate until datagrams are lost, then halves the step; from `hint` on with smaller steps.
fn highest(
    path: &Path,
    running: &Running,
    offer: Offer,
    time: Duration,
    hint: Option<f64>,
) -> Result<Figures, LabError> {
    let step = time / 3;
    let mut best: Option<(f64, Figures)> = None;
    let try_rate = |rate: f64, best: &mut Option<(f64, Figures)>| -> Result<bool, LabError> {
        // One stall of a shared machine must not decide.
        for _ in 0..2 {
            let (figures, report) = udp(path, running, Offer { rate: rate as u32, ..offer }, step)?;
            let loss = report.lost() as f64 / (report.sent as f64).max(1.0);
            let offered = report.rate();
            if loss < TOLERATED_LOSS {
                if best.as_ref().is_none_or(|(other, _)| *other < offered) {
                    *best = Some((offered, figures));
                }
                if offered >= rate * OFFERED {
                    return Ok(true);
                }
            }
        }
        // Too much was lost, or the sender is too slow for this rate and so for any higher one.
        Ok(false)
    };
    let (mut rate, mut factor) = hint.map_or((40_000.0, 2.0_f64), |hint| (hint, 1.3));
    let mut low = None;
    while (2_000.0..10e6).contains(&rate) {
        if try_rate(rate, &mut best)? {
            low = Some(rate);
            rate *= factor;
        } else if low.is_some() {
            break;
        } else {
            rate /= factor;
        }
    }
    let Some(mut low) = low else { return Ok(best.map(|(_, figures)| figures).unwrap_or_default()) };
    for _ in 0..if hint.is_some() { 1 } else { 3 } {
        factor = factor.sqrt();
        if try_rate(low * factor, &mut best)? {
            low *= factor;
        }
    }
    Ok(best.map(|(_, figures)| figures).unwrap_or_default())
}
