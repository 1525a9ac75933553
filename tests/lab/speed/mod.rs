//! Correctness at full speed: whatever is lost, changed or out of order is found.

pub(crate) mod degrade;
pub(crate) mod files;
pub(crate) mod load;
pub(crate) mod soak;
pub(crate) mod wire;

use std::{collections::BTreeMap, fs};

use skybridge::lab::{
    Daemon, LabError, Namespace,
    losses::Losses,
    topology::{CLIENT, CLIENT6, POD, POD6},
    traffic::{
        http,
        stream::{Report, Stream},
        tcp::Transfer,
    },
};

use crate::ensure;
use crate::pair::{PATIENCE, Pair, RECOVERY, ip};

/// Octets of a file.
pub(crate) const FILE: u64 = 16 << 20;
/// Datagrams a second beside a TCP load.
pub(crate) const RATE: u32 = 2_000;

/// From which namespace files come, and the address there.
fn ways(pair: &Pair) -> [(&Namespace, &Namespace, &'static str); 4] {
    let (client, pod) = (&pair.lab.client, &pair.lab.pod);
    [(pod, client, POD), (client, pod, CLIENT), (pod, client, POD6), (client, pod, CLIENT6)]
}

/// Fetches a file each way over IPv4 and IPv6; each must arrive as it was.
pub(crate) fn files(pair: &Pair, length: u64) -> Result<(), LabError> {
    for (seed, (from, to, address)) in (100..).zip(ways(pair)) {
        file(from, to, address, seed, length)
            .map_err(|error| LabError::check(format!("{error}\n{}", pair.last_words())))?;
    }
    Ok(())
}

/// Fetches one file.
pub(crate) fn file(
    from: &Namespace,
    to: &Namespace,
    address: &str,
    seed: u64,
    length: u64,
) -> Result<(), LabError> {
    let server = http::Server::start(from, http::any_port(ip(address)), seed)?;
    let fetched = http::fetch(to, server.address(), length, RECOVERY)?;
    let same = fetched.length == length && fetched.sha256 == http::sha256(seed, length);
    ensure(same, format!("{} of {length} octets arrived from {address}, or others", fetched.length))
}

/// What the daemon has dropped, by reason.
pub(crate) fn drops(daemon: &Daemon) -> Result<BTreeMap<String, u64>, LabError> {
    Ok(daemon.status()?.drops)
}

pub(crate) fn drop_count(daemon: &Daemon, reason: &str) -> Result<u64, LabError> {
    Ok(drops(daemon)?.get(reason).copied().unwrap_or(0))
}

/// How often a daemon's log has a text.
pub(crate) fn said(daemon: &Daemon, text: &str) -> usize {
    fs::read_to_string(daemon.log()).unwrap_or_default().matches(text).count()
}

/// Everything that may have lost a packet.
pub(crate) fn losses(pair: &Pair) -> Result<Losses, LabError> {
    Losses::count(pair.lab.namespaces(), [&pair.office, &pair.cloud])
}

/// Losses without those of packets that the kernel makes by itself on any new device, such as router solicitations.
pub(crate) fn explained(mut losses: Vec<String>) -> Vec<String> {
    losses.retain(|what| !what.contains("daemon not_unicast"));
    losses
}

/// TCP in both directions as fast as it goes, and numbered datagrams beside it.
pub(crate) struct Load {
    pub(crate) there: Transfer,
    pub(crate) back: Transfer,
    pub(crate) stream: Stream,
    pub(crate) stream_back: Stream,
    before: Losses,
}

impl Load {
    pub(crate) fn start(pair: &Pair) -> Result<Self, LabError> {
        let (client, pod) = (&pair.lab.client, &pair.lab.pod);
        let before = losses(pair)?;
        Ok(Self {
            there: Transfer::start(client, pod, ip(POD))?,
            back: Transfer::start(pod, client, ip(CLIENT))?,
            stream: Stream::start(client, pod, ip(POD), RATE, 200)?,
            stream_back: Stream::start(pod, client, ip(CLIENT), RATE, 200)?,
            before,
        })
    }

    /// Waits until everything has moved on: so many datagrams each way, and TCP each way.
    pub(crate) fn flows(&self, datagrams: u64) -> Result<(), LabError> {
        let seen = || [&self.stream, &self.stream_back].map(Stream::received);
        let moved = || [&self.there, &self.back].map(Transfer::received);
        let (first, begun) = (seen(), moved());
        skybridge::lab::wait::until("the whole load moves on", RECOVERY, || {
            let (now, at) = (seen(), moved());
            let all = now.iter().zip(first).all(|(now, first)| *now >= first + datagrams)
                && at.iter().zip(begun).all(|(now, begun)| *now > begun);
            Ok(if all { Ok(()) } else { Err(format!("{first:?} {now:?}, {begun:?} {at:?}")) })
        })
    }

    /// Ends it. Tells what became of the datagrams there and back, and what was lost by whom.
    pub(crate) fn stop(self, pair: &Pair) -> Result<([Report; 2], Vec<String>), LabError> {
        let reports = [self.stream.stop()?, self.stream_back.stop()?];
        self.there.stop()?;
        self.back.stop()?;
        Ok((reports, explained(losses(pair)?.since(&self.before))))
    }

    /// Ends it; no datagram may be missing, doubled or overtaken.
    pub(crate) fn lost_nothing(self, pair: &Pair) -> Result<(), LabError> {
        let (reports, lost) = self.stop(pair)?;
        for report in reports {
            ensure(in_order(&report), format!("{report:?}; {lost:?}\n{}", pair.last_words()))?;
        }
        Ok(())
    }
}

/// All arrived, once, and none before an earlier one.
pub(crate) fn in_order(report: &Report) -> bool {
    report.lost() == 0 && report.reordered == 0 && report.duplicated == 0
}

/// Waits until a daemon's drops satisfy a condition.
pub(crate) fn until_drops(
    daemon: &Daemon,
    what: &str,
    holds: impl Fn(&BTreeMap<String, u64>) -> bool,
) -> Result<(), LabError> {
    skybridge::lab::wait::until(what, PATIENCE, || {
        let now = drops(daemon)?;
        Ok(if holds(&now) { Ok(()) } else { Err(format!("{now:?}")) })
    })
}
