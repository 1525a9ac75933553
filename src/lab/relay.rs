//! A stretch of wire that loses, doubles, delays and repeats ESP packets, decided by a seed alone.
//!
//! Everything that the internet's router would forward between office and cloud goes through a TUN device to a
//! thread and back. Only ESP in UDP suffers; whatever else passes stays in order. IPv4 only.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Lab, LabError, namespace::joined, topology::CLOUD_PUBLIC};
use crate::dataplane::{
    KernelTun, TunDevice,
    batch::{Offload, Segmentation},
    device::TUN_HEADROOM,
    segment::Segments,
};

const DEVICE: &str = "relay0";
/// The longest time between looks at whether to stop, in milliseconds.
const IDLE: u8 = 20;
/// The longest delay of a delayed packet, in packets that overtake it.
const LONGEST_DELAY: u64 = 24;
/// Packets or trains that are kept to be repeated, each way.
const KEPT: usize = 32;

/// What happens to the ESP packets, or to the trains of them where those pass whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Decides which.
    pub seed: u64,
    /// Of a thousand, how many are lost.
    pub lost: u16,
    /// Of a thousand, how many come twice.
    pub doubled: u16,
    /// Of a thousand, how many are overtaken by others.
    pub delayed: u16,
    /// Whether trains pass whole, as through a network card that can segment them, rather than cut.
    pub whole: bool,
}

/// What passed in one direction. All but `trains` counts single packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// ESP packets that came in.
    pub packets: u64,
    /// Trains of several among what came in.
    pub trains: u64,
    /// Packets that were lost.
    pub lost: u64,
    /// Packets that were sent twice.
    pub doubled: u64,
    /// Packets that were overtaken.
    pub delayed: u64,
    /// Packets that were sent again by [`Relay::repeat`].
    pub repeated: u64,
    /// The longest packet, with its IP header.
    pub longest: usize,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    repeat: AtomicBool,
    faults: Mutex<Faults>,
    passed: Mutex<[Passed; 2]>,
}

/// A running relay. It stops when dropped, and then nothing passes any more.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<(), LabError>>>,
}

impl Relay {
    /// Puts a relay between office and cloud.
    ///
    /// # Errors
    /// There is no TUN device, or it cannot be routed to.
    pub fn start(lab: &Lab, faults: Faults) -> Result<Self, LabError> {
        let opened = lab.internet.run(|| {
            KernelTun::open(DEVICE, 1, faults.whole).map_err(LabError::io("open the relay's TUN device"))
        })?;
        let tun = opened.into_iter().next().ok_or_else(|| LabError::check("a TUN device without queue"))?;
        lab.internet.set_up(DEVICE)?;
        lab.internet.divert(&["carrier0", "cloud0"], DEVICE)?;
        let shared = Arc::new(Shared { faults: Mutex::new(faults), ..Shared::default() });
        let work = Work::new(tun, Arc::clone(&shared), faults.seed);
        let thread = lab.internet.thread(move || work.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Lets other faults happen from now on; whether trains pass whole stays as it was.
    pub fn set(&self, faults: Faults) {
        *self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// What has passed towards the cloud and towards the office.
    pub fn passed(&self) -> [Passed; 2] {
        *self.shared.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the first few of both directions again as they were, at once, and waits until that is done.
    ///
    /// # Errors
    /// The relay has ended.
    pub fn repeat(&self) -> Result<(), LabError> {
        self.shared.repeat.store(true, Ordering::Release);
        super::wait::until("the relay repeats", std::time::Duration::from_secs(20), || {
            let waits = self.shared.repeat.load(Ordering::Acquire);
            Ok(if waits { Err("not yet".to_owned()) } else { Ok(()) })
        })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = joined(thread);
        }
    }
}

/// A packet or train with room for what the device puts before it.
#[derive(Debug, Clone)]
struct Item {
    buffer: Vec<u8>,
    offload: Offload,
    packets: u64,
}

#[derive(Debug, Default)]
struct Lane {
    random: u64,
    passed: Passed,
    /// Delayed ones, with how many are still to overtake each.
    held: Vec<(u64, Item)>,
    kept: Vec<Item>,
}

struct Work {
    tun: KernelTun,
    shared: Arc<Shared>,
    lanes: [Lane; 2],
}

impl Work {
    fn new(tun: KernelTun, shared: Arc<Shared>, seed: u64) -> Self {
        let lane =
            |number: u64| Lane { random: seed.wrapping_mul(2).wrapping_add(number), ..Lane::default() };
        Self { tun, shared, lanes: [lane(0), lane(1)] }
    }

    fn run(mut self) -> Result<(), LabError> {
        let mut buffer = vec![0_u8; 65_536 + 64];
        while !self.shared.stop.load(Ordering::Acquire) {
            match self.tun.receive(&mut buffer) {
                Ok(Some(received)) => {
                    let octets = buffer.get(received.range).unwrap_or_default();
                    self.take(octets, received.offload);
                }
                Ok(None) => {
                    self.release();
                    self.publish();
                    let mut fds = [PollFd::new(self.tun.poll_fd(), PollFlags::POLLIN)];
                    let _ = poll(&mut fds, PollTimeout::from(IDLE));
                }
                Err(error) => return Err(LabError::check(format!("the relay's device: {error:?}"))),
            }
            if self.shared.repeat.load(Ordering::Acquire) {
                self.repeat();
                self.publish();
                self.shared.repeat.store(false, Ordering::Release);
            }
        }
        Ok(())
    }

    fn publish(&self) {
        let passed = self.lanes.each_ref().map(|lane| lane.passed);
        *self.shared.passed.lock().unwrap_or_else(PoisonError::into_inner) = passed;
    }

    fn take(&mut self, octets: &[u8], offload: Offload) {
        let packets = match offload.segmentation {
            Segmentation::None => 1,
            _ => Segments::parse(octets, offload).map_or(1, |all| u64::try_from(all.count()).unwrap_or(1)),
        };
        let mut item = Item { buffer: [&[0; TUN_HEADROOM], octets].concat(), offload, packets };
        let Some(way) = way_of_esp(octets) else {
            send(&mut self.tun, &mut item);
            return;
        };
        let faults = *self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let Self { tun, lanes, .. } = self;
        let Some(lane) = lanes.get_mut(way) else { return };
        lane.count(&item, octets.len());
        let fate = u16::try_from(lane.next() % 1_000).unwrap_or(0);
        let (lost, doubled) = (faults.lost, faults.lost + faults.doubled);
        if fate < lost {
            lane.passed.lost += packets;
        } else if fate >= doubled && fate < doubled + faults.delayed {
            lane.passed.delayed += packets;
            let delay = 1 + lane.next() % LONGEST_DELAY;
            lane.held.push((delay, item));
            return;
        } else {
            send(tun, &mut item);
            if fate < doubled {
                lane.passed.doubled += packets;
                send(tun, &mut item);
            }
        }
        for (left, _) in &mut lane.held {
            *left -= 1;
        }
        for (_, mut item) in lane.held.extract_if(.., |(left, _)| *left == 0) {
            send(tun, &mut item);
        }
    }

    /// Nobody is there who could overtake.
    fn release(&mut self) {
        let Self { tun, lanes, .. } = self;
        for (_, mut item) in lanes.iter_mut().flat_map(|lane| lane.held.drain(..)) {
            send(tun, &mut item);
        }
    }

    fn repeat(&mut self) {
        self.release();
        let Self { tun, lanes, .. } = self;
        for lane in lanes {
            for item in &mut lane.kept {
                send(tun, item);
                lane.passed.repeated += item.packets;
            }
        }
    }
}

impl Lane {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn count(&mut self, item: &Item, len: usize) {
        self.passed.packets += item.packets;
        self.passed.trains += u64::from(item.packets > 1);
        if item.packets == 1 {
            self.passed.longest = self.passed.longest.max(len);
        } else if let Ok(all) =
            Segments::parse(item.buffer.get(TUN_HEADROOM..).unwrap_or_default(), item.offload)
        {
            self.passed.longest = self.passed.longest.max(all.max_packet_len());
        }
        if self.kept.len() < KEPT {
            self.kept.push(item.clone());
        }
    }
}

/// What the router does not take is seen as a loss.
fn send(tun: &mut KernelTun, item: &mut Item) {
    let _ = tun.transmit(&mut item.buffer, item.offload);
}

/// 0 for ESP in UDP towards the cloud, 1 towards the office, none for everything else.
fn way_of_esp(packet: &[u8]) -> Option<usize> {
    let cloud: std::net::Ipv4Addr = CLOUD_PUBLIC.parse().ok()?;
    let header = usize::from(packet.first()? & 0x0f) * 4;
    if packet.first()? >> 4 != 4 || packet.get(9) != Some(&17) {
        return None;
    }
    let (ports, data) = (packet.get(header..header + 4)?, packet.get(header + 8..)?);
    let natt = 4_500_u16.to_be_bytes();
    let way = if packet.get(16..20)? == cloud.octets() && ports.get(2..) == Some(&natt[..]) {
        0
    } else if packet.get(12..16)? == cloud.octets() && ports.get(..2) == Some(&natt[..]) {
        1
    } else {
        return None;
    };
    (data.len() > 8 && data.get(..4) != Some(&[0; 4])).then_some(way)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp(source: [u8; 4], target: [u8; 4], ports: (u16, u16), data: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
        packet.extend(source);
        packet.extend(target);
        packet.extend(ports.0.to_be_bytes());
        packet.extend(ports.1.to_be_bytes());
        packet.extend([0; 4]);
        packet.extend(data);
        packet
    }

    #[test]
    fn only_esp_suffers_and_each_way_apart() {
        let (office, cloud) = ([198, 51, 100, 2], [203, 0, 113, 10]);
        assert_eq!(way_of_esp(&udp(office, cloud, (33_000, 4500), &[7; 60])), Some(0));
        assert_eq!(way_of_esp(&udp(cloud, office, (4500, 33_000), &[7; 60])), Some(1));
        assert_eq!(way_of_esp(&udp(office, cloud, (33_000, 4500), &[0; 60])), None);
        assert_eq!(way_of_esp(&udp(office, cloud, (33_000, 4500), &[0xff])), None);
        assert_eq!(way_of_esp(&udp(office, cloud, (500, 500), &[7; 60])), None);
    }

    #[test]
    fn a_seed_decides_everything() {
        let fates = |seed| {
            let mut lane = Lane { random: seed, ..Lane::default() };
            (0..100).map(|_| lane.next() % 1_000).collect::<Vec<_>>()
        };
        assert_eq!(fates(1), fates(1));
        assert_ne!(fates(1), fates(2));
    }
}
