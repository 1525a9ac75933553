//! The table stays what it is, whatever others do, and goes without a trace.

use std::net::SocketAddr;

use skybridge::{
    cluster::{
        conntrack::Usage,
        model::Protocol,
        table::{Load, Mode, Table, TableSettings, Wanted, cleanup},
    },
    lab::{LabError, namespace::joined, wait::until},
};

use crate::{
    inside::Test,
    world::{CLIENT, Flow, SILENT, SOON, World, block, ensure, frontend, ip, same, tcp, udp, vip, wanted},
};

pub(crate) const TESTS: &[Test] = &[
    ("a_flushed_table_comes_back", |_| flushed()),
    ("whatever_others_do_to_the_table_is_undone", |_| tampered()),
    ("others_tables_are_left_alone", |_| others()),
    ("a_table_left_by_a_killed_daemon_is_replaced_or_removed", |_| left()),
    ("a_change_that_is_not_taken_is_made_good_by_a_whole_load", |_| made_good()),
    ("any_plan_is_taken_and_a_difference_gives_what_a_whole_load_gives", |_| any_plan()),
    ("a_missing_program_or_a_bad_device_is_told", |_| told()),
];

const OTHERS: &str = "table inet mine { set s { type ipv4_addr; elements = { 10.9.9.9 }; }; chain c { type filter hook \
                      forward priority 5; ip daddr @s drop; }; }\ntable ip nat { chain PREROUTING { }; }\n";

fn services() -> Wanted {
    let mut sticky = tcp(4, &[21, 22, 23]);
    sticky.affinity = Some(std::time::Duration::from_secs(600));
    let six = frontend(vip(5, false), Protocol::Udp, 53, &[21, 22], 5353);
    wanted(Mode::Translate, vec![tcp(1, &[21]), tcp(2, &[21, 22]), udp(3, &[]), sticky, six, udp(6, &[21])])
}

fn flushed() -> Result<(), LabError> {
    let mut world = World::new()?;
    world.apply(&services())?;
    let before = world.contents()?;
    ensure(world.verify()?, "nobody did anything")?;
    world.gate.nft("flush ruleset")?;
    // As long as anybody tracks connections, these go the wrong way and are remembered so.
    world
        .gate
        .nft("table ip other { chain a { type filter hook forward priority 0; ct state new accept; }; }")?;
    let socket = world.udp(vip(6, true), 53)?;
    socket.send(b"x").map_err(LabError::io("send"))?;
    same(&world.tcp(vip(2, true), SILENT)?, "silence")?;
    let client = world.client.clone();
    let again = client.thread({
        let client = client.clone();
        move || {
            client.run(|| Ok(Flow::open(SocketAddr::new(ip(CLIENT), 0), (vip(2, true), 80).into()).said()))
        }
    })?;
    until("the first SYN is known", SOON, || {
        let known = world.gate.run(|| Ok(Usage::read()))?.is_some_and(|usage| usage.count >= 3);
        Ok(if known { Ok(()) } else { Err("not yet".to_owned()) })
    })?;
    ensure(!world.verify()?, "the flush was not seen")?;
    world.gate.nft("delete table ip other")?;
    ensure(joined(again)?.starts_with("10.0.2.2"), "a SYN that was repeated went the wrong way")?;
    same(&world.ask(&socket, 10), "10.0.2.21 192.168.10.10")?;
    ensure(world.contents()? == before, "it is not what it was")?;
    ensure(world.verify()?, "it is right again")?;
    ensure(world.tcp(vip(2, true), 80)?.starts_with("10.0.2.2"), "no endpoint answers")
}

fn tampered() -> Result<(), LabError> {
    let mut world = World::silent()?;
    world.apply(&services())?;
    let before = world.contents()?;
    for change in [
        "delete table inet skybridge",
        "flush table inet skybridge",
        "flush chain inet skybridge translate",
        "flush chain inet skybridge of_12",
        "add rule inet skybridge forward drop",
        "insert rule inet skybridge prerouting accept",
        "flush map inet skybridge services4",
        "flush map inet skybridge slots6",
        "flush map inet skybridge single4",
        "flush set inet skybridge generation",
        "delete table inet skybridge; add table inet skybridge { chain a { }; }",
    ] {
        world.gate.nft(change)?;
        ensure(!world.verify()?, format!("not seen: {change}"))?;
        ensure(world.contents()? == before, "it is not what it was")?;
    }
    Ok(())
}

fn others() -> Result<(), LabError> {
    let mut world = World::silent()?;
    world.gate.nft(OTHERS)?;
    let before = world.list()?;
    world.apply(&services())?;
    ensure(world.list()?.starts_with(before.trim_end()), "others' tables have changed")?;
    // What others do to theirs is no reason to load ours again.
    world.gate.nft("add element inet mine s { 10.9.9.10 }")?;
    ensure(world.verify()?, "loaded anew without a reason")?;
    world.gate.nft("delete element inet mine s { 10.9.9.10 }")?;
    world.remove()?;
    same(&world.list()?, &before)
}

fn left() -> Result<(), LabError> {
    let mut world = World::new()?;
    world.apply(&services())?;
    let before = world.contents()?;
    world.gate.nft("add element inet skybridge single4 { 172.16.0.77 . tcp . 80 : 10.0.2.21 . 8080 }")?;
    world.table = Table::new(settings());
    let applied = world.apply(&services())?;
    ensure(applied.load == Load::Whole, format!("{applied:?}"))?;
    ensure(world.contents()? == before, "it is not what it was")?;
    world.table = Table::new(settings());
    let removed = world.gate.run(|| block(cleanup(None)))?;
    ensure(removed, "there was a table")?;
    same(&world.list()?, "")?;
    let removed = world.gate.run(|| block(cleanup(None)))?;
    ensure(!removed, "there was no table")
}

fn settings() -> TableSettings {
    TableSettings { device: "sky0".into(), nft: None, patience: std::time::Duration::from_secs(60) }
}

fn made_good() -> Result<(), LabError> {
    let mut world = World::new()?;
    world.apply(&wanted(Mode::Translate, vec![tcp(1, &[21]), tcp(2, &[21, 22])]))?;
    world.gate.nft("delete element inet skybridge slots4 { 172.16.0.2 . tcp . 80 . 0 }")?;
    let applied = world.apply(&wanted(Mode::Translate, vec![tcp(1, &[21])]))?;
    ensure(applied.load == Load::Whole && applied.told.len() == 1, format!("{applied:?}"))?;
    same(&world.tcp(vip(1, true), 80)?, "10.0.2.21 192.168.10.10")?;
    same(&world.tcp(vip(2, true), 80)?, "refused")
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn wanted(&mut self) -> Wanted {
        let mut clusters = Vec::new();
        for name in ["a", "b"] {
            let mode = [Mode::Route, Mode::Translate, Mode::TranslateAndMasquerade][self.below(3) as usize];
            let mut one = wanted(mode, Vec::new()).clusters.remove(0);
            one.name = name.into();
            one.ping = self.below(2) == 0;
            let mut plan = skybridge::cluster::plan::Plan::default();
            for net in ["172.16.0.0/16", "172.16.0.0/24", "fd00:16::/64", "0.0.0.0/0", "::/0", "10.96.7.9/12"]
            {
                if self.below(3) == 0 {
                    plan.service_cidrs.push(net.parse().unwrap());
                }
            }
            for _ in 0..self.below(30) {
                let v4 = self.below(2) == 0;
                let protocol = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp][self.below(3) as usize];
                let pods: Vec<u8> = (0..[0, 1, 2, 3, 5, 9, 60][self.below(7) as usize]).collect();
                let port = [0, 1, 80, 53, 65_535][self.below(5) as usize];
                let mut front =
                    frontend(vip(self.below(20) as u8, v4), protocol, port, &pods, 1 + self.below(3) as u16);
                if self.below(3) == 0 {
                    front.affinity = Some(std::time::Duration::from_secs(self.below(4) * 100_000));
                }
                if self.below(5) == 0 {
                    front.backends.reverse();
                    front.backends.extend(front.backends.clone());
                }
                plan.frontends.push(front);
            }
            one.plan = plan.into();
            clusters.push(one);
        }
        Wanted { clusters }
    }
}

fn any_plan() -> Result<(), LabError> {
    let (mut one, mut other, mut differences) = (World::silent()?, World::silent()?, 0);
    let mut numbers = Numbers(7);
    for round in 0..25 {
        let wanted = numbers.wanted();
        let applied = one.apply(&wanted)?;
        ensure(applied.told.is_empty(), format!("round {round}: {:?}", applied.told))?;
        differences += usize::from(applied.load == Load::Difference);
        let by_steps = one.contents()?;
        other.table = Table::new(settings());
        other.apply(&wanted)?;
        let at_once = other.contents()?;
        ensure(by_steps == at_once, format!("round {round}: they differ"))?;
    }
    ensure(differences > 5, format!("only {differences} differences"))
}

fn told() -> Result<(), LabError> {
    let mut world = World::silent()?;
    for (settings, text) in [
        (TableSettings { nft: Some("/nowhere/nft".into()), ..settings() }, "install the package nftables"),
        (TableSettings { device: "sky0\"; drop".into(), ..settings() }, "is no name for a device"),
    ] {
        world.table = Table::new(settings);
        let error = world.apply(&services()).expect_err("it was taken").to_string();
        ensure(error.contains(text), error)?;
    }
    Ok(())
}
