//! New keys while traffic goes on.

use skybridge::control::RekeyTarget;
use skybridge::lab::{Entered, LabError, Plan, topology::POD, traffic::tcp::Transfer};

use crate::pair::{PATIENCE, Pair, flows, ip};
use crate::{Test, ensure};

pub(crate) const TESTS: &[Test] = &[
    ("rekey::fifty_rekeys_cause_no_tcp_retransmission_timeout", fifty),
    ("rekey::rekeys_from_both_sides_lose_no_datagram", lossless),
    ("rekey::lifetimes_in_packets_rekey_without_loss", by_packets),
];

fn fifty(inside: &Entered) -> Result<(), LabError> {
    let pair = Pair::up(inside, &Plan::default())?;
    let timeouts = || -> Result<[u64; 2], LabError> {
        Ok([
            pair.lab.client.netstat("TcpExt", "TCPTimeouts")?,
            pair.lab.pod.netstat("TcpExt", "TCPTimeouts")?,
        ])
    };
    let transfer = Transfer::start(&pair.lab.client, &pair.lab.pod, ip(POD))?;
    let before = timeouts()?;
    for round in 0..25 {
        let what = if round % 2 == 0 { RekeyTarget::Children } else { RekeyTarget::Ike };
        let moved = transfer.received();
        pair.office.rekey("cloud", &what, PATIENCE)?;
        pair.cloud.rekey("office", &what, PATIENCE)?;
        ensure(transfer.received() > moved, "the transfer stands still")?;
    }
    let after = timeouts()?;
    transfer.stop()?;
    ensure(before == after, format!("retransmission timeouts went from {before:?} to {after:?}"))
}

fn lossless(inside: &Entered) -> Result<(), LabError> {
    let pair = Pair::up(inside, &Plan::default())?;
    let stream = pair.stream(5_000)?;
    for what in
        [RekeyTarget::All, RekeyTarget::Children, RekeyTarget::Ike, RekeyTarget::Child("vpc".to_owned())]
    {
        pair.office.rekey("cloud", &what, PATIENCE)?;
        flows(&stream, 1_000, PATIENCE)?;
        if !matches!(what, RekeyTarget::Child(_)) {
            pair.cloud.rekey("office", &what, PATIENCE)?;
            flows(&stream, 1_000, PATIENCE)?;
        }
    }
    let report = stream.stop()?;
    ensure(report.lost() == 0, format!("{report:?}"))
}

fn by_packets(inside: &Entered) -> Result<(), LabError> {
    let plan = Plan { office_extra: "lifetimes = { child_packets = 2000 }\n".to_owned(), ..Plan::default() };
    let pair = Pair::up(inside, &plan)?;
    let first = pair.office.child("cloud", "vpc")?.spi_out;
    let stream = pair.stream(2_000)?;
    flows(&stream, 8_000, PATIENCE)?;
    let report = stream.stop()?;
    let last = pair.office.child("cloud", "vpc")?.spi_out;
    ensure(first != last, "the same Child SA after four times its packets")?;
    ensure(report.lost() == 0, format!("{report:?}"))
}
