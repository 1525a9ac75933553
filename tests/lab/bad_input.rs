//! Malformed datagrams at both ports while a tunnel carries traffic: the traffic is unharmed, memory and log
//! stay where they were, and every datagram is counted.

use std::{
    fs,
    net::UdpSocket,
    time::{Duration, Instant},
};

use skybridge::control::RekeyTarget;
use skybridge::control::api::Status;
use skybridge::esp::{Direction, DropReason};
use skybridge::lab::{
    Entered, LabError, Plan,
    topology::{CLIENT, CLOUD},
    traffic::stream::Stream,
    wait::until,
};
use skybridge::wire::esp::EspHeader;
use skybridge::wire::ike::registry::*;
use skybridge::wire::ike::{
    EncryptedBody, Flags, Header, IkeSpi, Message, Notify, Payload, ProposalBody, Transform,
};
use skybridge::wire::udp_encap::NON_ESP_MARKER;

use crate::pair::{PATIENCE, Pair, flows, ip};
use crate::{Test, ensure};

pub(crate) const TESTS: &[Test] =
    &[("bad_input::malformed_datagrams_are_counted_and_harm_nothing", malformed)];

/// Datagrams of a usual run, and of one with `SKYBRIDGE_LONG=1`.
const COUNT: [u64; 2] = [1_000_000, 10_000_000];

/// Octets that may wait in a socket of the daemon before the flood waits: a flood that fills the sockets
/// would only show that the kernel drops what does not fit.
const WAITING: u64 = 64 << 10;

/// How far memory may grow after the first tenth, in KiB.
const GROWTH: u64 = 8 << 10;

/// How far the log may grow: some lines a second, not one a datagram.
const LOG_GROWTH: u64 = 1 << 20;

/// Counters that go up beside the reason for which a datagram was refused.
const BESIDE: [&str; 4] =
    ["unauthenticated_answers", "unauthenticated_answers_limited", "hint_probes", "hints_limited"];

fn init() -> Message {
    let gcm = Transform::with_key_length(TransformType::ENCRYPTION, EncryptionId::AES_GCM_16.0, 256);
    let prf = Transform::new(TransformType::PRF, PrfId::HMAC_SHA2_384.0);
    let group = Transform::new(TransformType::KEY_EXCHANGE, GroupId::CURVE25519.0);
    let transforms = vec![gcm, prf, group];
    let proposal = ProposalBody { number: 1, protocol: ProtocolId::IKE, spi: vec![], transforms };
    Message {
        header: header([[0x11; 8], [0; 8]], ExchangeType::IKE_SA_INIT, 0),
        payloads: vec![
            Payload::SecurityAssociation(vec![proposal]),
            Payload::KeyExchange { group: GroupId::CURVE25519, data: vec![0x6b; 32] },
            Payload::Nonce(vec![0x6e; 32]),
            Payload::Notify(Notify::new(NotifyType::NAT_DETECTION_SOURCE_IP, [9; 20])),
        ],
    }
}

fn header(spis: [[u8; 8]; 2], exchange: ExchangeType, message_id: u32) -> Header {
    let flags = Flags { initiator: true, version: false, response: false };
    Header::new(IkeSpi(spis[0]), IkeSpi(spis[1]), exchange, flags, message_id)
}

/// A message that looks encrypted, with an ICV that is none.
fn sealed(spis: [[u8; 8]; 2], exchange: ExchangeType, message_id: u32) -> Vec<u8> {
    let body = EncryptedBody::new(PayloadType::ID_INITIATOR, vec![0x5a; 120]);
    let payloads = vec![Payload::Encrypted(body)];
    Message { header: header(spis, exchange, message_id), payloads }.encode()
}

/// Every truncation of a datagram, the empty one included.
fn truncations(octets: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..octets.len()).map(|len| octets[..len].to_vec())
}

/// The message with each of its length fields wrong in several ways: the header's and every payload's.
fn wrong_lengths(octets: &[u8]) -> Vec<Vec<u8>> {
    let mut fields = vec![(24, 4)];
    let mut at = 28;
    while at + 4 <= octets.len() {
        fields.push((at + 2, 2));
        at += usize::from(u16::from_be_bytes([octets[at + 2], octets[at + 3]]));
    }
    // Inside of an SA payload, which comes first: the proposal's length and its transforms'.
    if octets[16] == PayloadType::SECURITY_ASSOCIATION.0 {
        fields.push((34, 2));
        let mut at = 40;
        for _ in 0..octets[39] {
            fields.push((at + 2, 2));
            at += usize::from(u16::from_be_bytes([octets[at + 2], octets[at + 3]]));
        }
    }
    let mut wrong = Vec::new();
    for (at, width) in fields {
        let right = octets[at..at + width].iter().fold(0u64, |value, octet| value << 8 | u64::from(*octet));
        let largest = (1u64 << (8 * width)) - 1;
        for value in [0, 1, 3, right - 1, right + 1, right + 4, right * 2, largest] {
            let mut octets_now = octets.to_vec();
            octets_now[at..at + width].copy_from_slice(&value.to_be_bytes()[8 - width..]);
            if value != right {
                wrong.push(octets_now);
            }
        }
    }
    wrong
}

/// Malformed datagrams with their ports. Those with the SPIs of the living tunnel reach furthest.
fn corpus(live: [[u8; 8]; 2], esp_spi: u32) -> Vec<(u16, Vec<u8>)> {
    let init = init().encode();
    assert!(Message::decode(&init).is_ok(), "only what is done to it makes it wrong");
    let mut ike: Vec<Vec<u8>> = truncations(&init).chain(wrong_lengths(&init)).collect();
    for spis in [live, [[0x22; 8], [0x33; 8]]] {
        for (exchange, message_id) in [
            (ExchangeType::IKE_AUTH, 1),
            (ExchangeType::INFORMATIONAL, 2),
            (ExchangeType::CREATE_CHILD_SA, 1 << 20),
        ] {
            let sealed = sealed(spis, exchange, message_id);
            ike.extend(truncations(&sealed));
            ike.extend(wrong_lengths(&sealed));
            ike.push(sealed);
        }
    }
    // What still is a message after all is none of ours to refuse.
    ike.retain(|octets| {
        Message::decode(octets).is_err()
            || Header::peek(octets).is_ok_and(|header| header.exchange != ExchangeType::IKE_SA_INIT)
    });
    let mut all: Vec<(u16, Vec<u8>)> = Vec::new();
    for octets in ike {
        all.push((4500, [&NON_ESP_MARKER[..], &octets].concat()));
        all.push((500, octets));
    }
    for (spi, sequence) in [(esp_spi, 1), (esp_spi, 1 << 20), (esp_spi, u32::MAX), (0xdead_beef, 1), (200, 1)]
    {
        let packet = [&EspHeader { spi, sequence }.to_octets()[..], &[0x5a; 100]].concat();
        all.extend(truncations(&packet).map(|octets| (4500, octets)));
        all.push((4500, packet));
    }
    all
}

/// Random octets; never the keepalive, which is no mistake.
fn random(state: &mut u64) -> Vec<u8> {
    let mut next = || {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *state >> 33
    };
    let len = next() % 300;
    let octets: Vec<u8> = (0..len).map(|_| next() as u8).collect();
    if octets == [0xff] { Vec::new() } else { octets }
}

/// Octets that wait in, and datagrams that were dropped by, the sockets of these ports in the calling
/// thread's network namespace.
fn kernel() -> Result<(u64, u64), LabError> {
    let (mut waiting, mut drops) = (0, 0);
    for family in ["udp", "udp6"] {
        let text =
            fs::read_to_string(format!("/proc/thread-self/net/{family}")).map_err(LabError::io("read"))?;
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let port = words.get(1).and_then(|local| local.rsplit(':').next());
            if !port.is_some_and(|port| ["01F4", "1194"].contains(&port)) {
                continue;
            }
            let queue = words.get(4).and_then(|queues| queues.rsplit(':').next()).unwrap_or("0");
            waiting += u64::from_str_radix(queue, 16).unwrap_or(0);
            drops += words.last().and_then(|drops| drops.parse().ok()).unwrap_or(0);
        }
    }
    Ok((waiting, drops))
}

fn memory(pid: u32) -> Result<u64, LabError> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))
        .map_err(LabError::io("read the daemon's status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| LabError::check("no VmRSS"))
}

/// Datagrams that a status says were refused.
fn counted(status: &Status) -> u64 {
    let inbound = |name: &str| {
        DropReason::ALL.iter().any(|reason| reason.name() == name && reason.direction() == Direction::Inbound)
    };
    let drops: u64 = status.drops.iter().filter(|(name, _)| inbound(name)).map(|(_, count)| count).sum();
    let refused = status.refused.iter().filter(|(name, _)| !BESIDE.contains(&name.as_str()));
    drops + refused.map(|(_, count)| count).sum::<u64>()
}

fn spi(text: &str) -> [u8; 8] {
    u64::from_str_radix(text, 16).unwrap().to_be_bytes()
}

fn malformed(inside: &Entered) -> Result<(), LabError> {
    let long = std::env::var_os("SKYBRIDGE_LONG").is_some();
    let count = COUNT[usize::from(long)];
    let pair = Pair::up(inside, &Plan::default())?;
    let pid = pair.cloud.pid().ok_or_else(|| LabError::check("no process"))?;
    let ike = pair.cloud.peer("office")?.ike.ok_or_else(|| LabError::check("no IKE SA"))?;
    let esp = pair.cloud.child("office", "lan")?.spi_in.unwrap_or_default();
    let corpus =
        corpus([spi(&ike.initiator_spi), spi(&ike.responder_spi)], u32::from_str_radix(&esp, 16).unwrap());
    let log =
        || fs::metadata(pair.cloud.log()).map(|meta| meta.len()).map_err(LabError::io("look at the log"));

    let there = pair.stream(200)?;
    let back = Stream::start(&pair.lab.pod, &pair.lab.client, ip(CLIENT), 200, 200)?;
    flows(&there, 50, PATIENCE)?;
    let before = pair.cloud.status()?;
    let log_before = log()?;
    let attacker = pair.lab.vpc.run(|| UdpSocket::bind("0.0.0.0:0").map_err(LabError::io("bind")))?;
    let begun = Instant::now();
    let (sent, dropped, memory_early) = pair.lab.cloud.run(|| {
        let (_, drops_before) = kernel()?;
        let (mut sent, mut state, mut early) = (0, 7, None);
        while sent < count {
            for _ in 0..64 {
                let made = usize::try_from(sent).unwrap_or(0);
                let (port, octets) = if sent % 4 == 0 {
                    (if sent % 8 == 0 { 500 } else { 4500 }, random(&mut state))
                } else {
                    corpus[made % corpus.len()].clone()
                };
                attacker.send_to(&octets, (CLOUD, port)).map_err(LabError::io("send"))?;
                sent += 1;
            }
            if sent >= count / 10 && early.is_none() {
                early = Some(memory(pid)?);
            }
            while kernel()?.0 > WAITING {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let (_, drops) = kernel()?;
        Ok((sent, drops - drops_before, early.unwrap_or(0)))
    })?;
    let lasted = begun.elapsed();

    let delivered = sent - dropped;
    let goal = counted(&before) + delivered;
    until("every datagram is counted", PATIENCE, || {
        let status = pair.cloud.status()?;
        let now = counted(&status);
        let differ = || format!("{now} of {goal}; {:?} {:?}", status.drops, status.refused);
        Ok(if now == goal { Ok(()) } else { Err(differ()) })
    })?;
    let memory_late = memory(pid)?;
    ensure(
        memory_late <= memory_early + GROWTH,
        format!("memory went from {memory_early} to {memory_late} KiB over {sent} datagrams"),
    )?;
    let log_growth = log()? - log_before;
    ensure(log_growth < LOG_GROWTH, format!("the log grew by {log_growth} octets"))?;
    println!(
        "{sent} malformed datagrams in {lasted:?}, {dropped} dropped by the kernel; \
         memory {memory_early} KiB early, {memory_late} KiB late; log {log_growth} octets"
    );

    ensure(
        pair.cloud.peer("office")?.ike.is_some_and(|now| now.initiator_spi == ike.initiator_spi),
        "another IKE SA",
    )?;
    pair.cloud.rekey("office", &RekeyTarget::All, PATIENCE)?;
    pair.office.rekey("cloud", &RekeyTarget::All, PATIENCE)?;
    flows(&there, 50, PATIENCE)?;
    flows(&back, 50, PATIENCE)?;
    let (there, back) = (there.stop()?, back.stop()?);
    ensure(there.lost() <= dropped && back.lost() == 0, format!("{there:?} {back:?}"))?;
    pair.reach(PATIENCE)
}
