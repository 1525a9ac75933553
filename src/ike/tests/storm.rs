//! Seeded storms: loss, delay, duplication and crossing of everything, after which exactly the configured
//! SAs must stand.

use std::time::Duration;

use super::pair::*;
use crate::ike::*;
use crate::policy::Proposal;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

fn storm(seed: u64, total: &mut CollisionStats) {
    let (mut a, mut b) = configs();
    a.children.push(child("dmz", "10.3.0.0/16", "10.4.0.0/16"));
    b.children.push(child("dmz", "10.4.0.0/16", "10.3.0.0/16"));
    a.children[1].start = StartPolicy::Connect;
    let mut dice = Dice(seed);
    if dice.roll(2) == 0 {
        b.children.iter_mut().for_each(|child| child.start = StartPolicy::Connect);
    }
    if dice.roll(4) == 0 {
        b.children.iter_mut().for_each(|child| {
            child.esp = vec![
                Proposal::parse_esp("aes256gcm16-ecp256").unwrap(),
                Proposal::parse_esp("aes256gcm16-x25519").unwrap(),
            ];
        });
        a.children.iter_mut().for_each(|child| {
            child.esp = vec![Proposal::parse_esp("aes256gcm16-x25519-ecp256").unwrap()];
        });
    }
    let settings = EndpointSettings::default;
    let mut pair =
        Pair::of(node(A, seed * 2 + 1, settings(), vec![a]), node(B, seed * 2 + 2, settings(), vec![b]));
    let loss = dice.roll(35);
    let spread = [1, 30, 200, 1500][usize::try_from(dice.roll(4)).unwrap()];
    let mut weather = Dice(seed ^ 0xabcd);
    pair.filter = Box::new(move |_| {
        (weather.roll(100) >= loss).then(|| Duration::from_millis(1 + weather.roll(spread)))
    });
    pair.run(Duration::from_millis(dice.roll(3000)));
    for _ in 0..dice.roll(12) {
        let side = if dice.roll(2) == 0 { Side::A } else { Side::B };
        let now = pair.now;
        let child: ChildName = if dice.roll(3) == 0 { "dmz" } else { "lan" }.into();
        let command = match dice.roll(12) {
            0..=4 => Command::RekeyChild { peer: side.peer(), child },
            5..=8 => Command::RekeyIke { peer: side.peer() },
            9 => Command::LocalAddressesChanged { addresses: vec![A.parse().unwrap(), B.parse().unwrap()] },
            _ => match pair.node(side).children.keys().next().copied() {
                Some(child) => Command::HardLimit { child },
                None => continue,
            },
        };
        let _ = pair.node(side).endpoint.handle_command(now, command.clone());
        if dice.roll(2) == 0 {
            let other = match command {
                Command::RekeyChild { child, .. } => Command::RekeyChild { peer: side.other().peer(), child },
                Command::RekeyIke { .. } => Command::RekeyIke { peer: side.other().peer() },
                other => other,
            };
            let _ = pair.node(side.other()).endpoint.handle_command(now, other);
        }
        pair.drain();
        // Old datagrams come again.
        if dice.roll(3) == 0
            && let Some((_, flight)) = pair.link.iter().next().map(|(key, flight)| (*key, flight.clone()))
        {
            pair.deliver(&flight);
        }
        let pause = [0, 5, 50, 3000][usize::try_from(dice.roll(4)).unwrap()];
        pair.run(Duration::from_millis(pause));
    }
    pair.filter = Box::new(|_| Some(LATENCY));
    pair.run(Duration::from_secs(400));
    // A DPD exchange may be under way at this very moment.
    for _ in 0..5 {
        if [Side::A, Side::B]
            .into_iter()
            .all(|side| pair.status(side).ike_sas.iter().all(|sa| sa.pending == 0))
        {
            break;
        }
        pair.run(Duration::from_millis(100));
    }
    pair.assert_converged(2);
    total.add(&pair.a.endpoint.collisions());
    total.add(&pair.b.endpoint.collisions());
}

#[test]
fn whatever_is_lost_delayed_or_crossed_the_configured_sas_stand_in_the_end() {
    let mut total = CollisionStats::default();
    let (from, to) = std::env::var("IKE_STORM")
        .ok()
        .and_then(|range| {
            let (from, to) = range.split_once('-')?;
            Some((from.parse().ok()?, to.parse().ok()?))
        })
        .unwrap_or((0, 60));
    let mut failed = Vec::new();
    for seed in from..to {
        let outcome = std::panic::catch_unwind(|| {
            let mut one = CollisionStats::default();
            storm(seed, &mut one);
            one
        });
        match outcome {
            Ok(one) => total.add(&one),
            Err(_) => failed.push(seed),
        }
    }
    eprintln!("{:?}", total.entries());
    assert!(failed.is_empty(), "seeds {failed:?}");
}
