//! The table as `nft` reads it: whole, or what differs between two images.
//!
//! Everything in it comes from typed addresses and numbers, and from the device's name, which is checked.

use std::{collections::BTreeMap, fmt::Write, net::IpAddr};

use super::{
    frame::{self, FAMILIES, TABLE},
    image::{Frame, Front, Image, Key},
};
use crate::cluster::model::Protocol;

/// Elements in one command.
const BATCH: usize = 1024;
/// What one element is called and holds, by the map or set it is in.
type Elements = BTreeMap<&'static str, BTreeMap<String, String>>;

/// Everything, in place of whatever there is.
pub(super) fn whole(image: &Image, generation: u32) -> String {
    let mut text = format!("add table {TABLE}\ndelete table {TABLE}\n");
    frame::whole(&mut text, &image.frame);
    for (ip, family) in FAMILIES.iter().enumerate() {
        // What is missing if somebody empties a map.
        let nobody = family.nobody;
        let sentinel = format!("{nobody} . tcp . 0");
        let mut of = |map: &str, elements: &mut dyn Iterator<Item = String>| {
            add(&mut text, "add", &format!("{map}{}", family.v), elements);
        };
        let fronts = || image.fronts.iter().filter(|(key, _)| key.0.is_ipv4() == (ip == 0));
        of("services", &mut [format!("{sentinel} : drop")].into_iter());
        of("single", &mut [format!("{sentinel} : {nobody} . 0")].into_iter());
        of("slots", &mut [format!("{sentinel} . 0 : {nobody} . 0")].into_iter());
        of("services", &mut fronts().map(|(key, front)| service(key, front)));
        of("single", &mut fronts().flat_map(|(key, front)| single(key, front)));
        of("slots", &mut fronts().flat_map(|(key, front)| slots(key, front)));
        of("sticky", &mut fronts().flat_map(|(key, front)| sticky(key, front)));
        let of_family = |address: &&IpAddr| address.is_ipv4() == (ip == 0);
        let answering = image.answering.iter().filter(|(vip, _)| of_family(vip));
        of("answering", &mut answering.map(|(vip, own)| format!("{vip} : {own}")));
        of("endpoints", &mut image.endpoints.iter().filter(of_family).map(ToString::to_string));
    }
    // Last, so that nothing is refused before everything is there, should it not fit into one transaction.
    frame::nets(&mut text, &Frame::default(), &image.frame);
    let _ = writeln!(text, "add element {TABLE} generation {{ {generation} }}");
    text
}

/// Elements that are there unless somebody has replaced the table or emptied a map of it: the map, and the key as the
/// kernel has it, each part filled up to a multiple of four octets.
pub(super) fn markers(generation: u32) -> Vec<(String, Vec<u8>)> {
    let mut markers = vec![("generation".to_owned(), generation.to_ne_bytes().to_vec())];
    for (family, address) in FAMILIES.iter().zip([4, 16]) {
        let mut key = vec![0; address + 8];
        if let Some(protocol) = key.get_mut(address) {
            *protocol = Protocol::Tcp.number();
        }
        markers.extend(["services", "single"].map(|map| (format!("{map}{}", family.v), key.clone())));
        key.extend([0; 4]);
        markers.push((format!("slots{}", family.v), key));
    }
    markers
}

/// What makes the table of `from` that of `to`, and how many elements that touches; `None` if nothing differs.
pub(super) fn difference(from: &Image, to: &Image, generations: (u32, u32)) -> Option<(String, usize)> {
    if from == to {
        return None;
    }
    let mut text = String::new();
    frame::difference(&mut text, &from.frame, &to.frame);
    let (old, new) = (changed(from, to), changed(to, from));
    let mut touched = 0;
    let nothing = BTreeMap::new();
    for (verb, these, others, with_data) in [("delete", &old, &new, false), ("add", &new, &old, true)] {
        for (map, elements) in these {
            let others = others.get(map).unwrap_or(&nothing);
            let mut left = elements
                .iter()
                .filter(|(key, data)| others.get(*key) != Some(*data))
                .inspect(|_| touched += 1)
                .map(|(key, data)| match data.as_str() {
                    "" => key.clone(),
                    data if with_data => format!("{key} : {data}"),
                    _ => key.clone(),
                });
            add(&mut text, verb, map, &mut left);
        }
    }
    let (before, now) = generations;
    let _ = writeln!(text, "delete element {TABLE} generation {{ {before} }}");
    let _ = writeln!(text, "add element {TABLE} generation {{ {now} }}");
    Some((text, touched))
}

/// The elements of whatever `image` does not share with `other`.
fn changed(image: &Image, other: &Image) -> Elements {
    let mut elements = Elements::new();
    let mut put = |maps: [&'static str; 2], v4: bool, element: String| {
        let (key, data) = element.split_once(" : ").unwrap_or((&element, ""));
        let map = maps[usize::from(!v4)];
        elements.entry(map).or_default().insert(key.to_owned(), data.to_owned());
    };
    for (key, front) in image.fronts.iter().filter(|(key, front)| other.fronts.get(key) != Some(front)) {
        let v4 = key.0.is_ipv4();
        put(["services4", "services6"], v4, service(key, front));
        single(key, front).into_iter().for_each(|element| put(["single4", "single6"], v4, element));
        slots(key, front).for_each(|element| put(["slots4", "slots6"], v4, element));
        sticky(key, front).into_iter().for_each(|element| put(["sticky4", "sticky6"], v4, element));
    }
    for (vip, own) in image.answering.iter().filter(|(vip, own)| other.answering.get(vip) != Some(own)) {
        put(["answering4", "answering6"], vip.is_ipv4(), format!("{vip} : {own}"));
    }
    for address in image.endpoints.difference(&other.endpoints) {
        put(["endpoints4", "endpoints6"], address.is_ipv4(), address.to_string());
    }
    elements
}

pub(super) fn add(text: &mut String, verb: &str, map: &str, elements: &mut dyn Iterator<Item = String>) {
    let mut elements = elements.peekable();
    while elements.peek().is_some() {
        let _ = write!(text, "{verb} element {TABLE} {map} {{ ");
        for (place, element) in elements.by_ref().take(BATCH).enumerate() {
            if place > 0 {
                text.push_str(",\n\t");
            }
            text.push_str(&element);
        }
        text.push_str(" }\n");
    }
}

fn name((vip, protocol, port): &Key) -> String {
    format!("{vip} . {protocol} . {port}")
}

fn service(key: &Key, front: &Front) -> String {
    let name = name(key);
    match (front.owners.len(), front.sticky) {
        (0, _) => format!("{name} : goto refuse"),
        (1, _) => format!("{name} : goto single"),
        (slots, None) => format!("{name} : goto of_{slots}"),
        (slots, Some(_)) => format!("{name} : goto sticky_of_{slots}"),
    }
}

/// Whether the kernel remembers who stays with an endpoint. Not with IPv6, where `nft` 1.0.6 has too few registers for
/// the rule: the endpoint is then chosen by a hash of the client's address alone.
pub(super) fn remembers(vip: IpAddr) -> bool {
    vip.is_ipv4()
}

fn single(key: &Key, front: &Front) -> Option<String> {
    let (address, port) = front.targets.first().filter(|_| front.owners.len() == 1)?;
    Some(format!("{} : {address} . {port}", name(key)))
}

fn slots(key: &Key, front: &Front) -> impl Iterator<Item = String> {
    let name = name(key);
    let shared = front.owners.len() > 1;
    front
        .by_slot()
        .filter(move |_| shared)
        .enumerate()
        .map(move |(slot, (address, port))| format!("{name} . {slot} : {address} . {port}"))
}

fn sticky(key: &Key, front: &Front) -> Option<String> {
    let seconds = front.sticky.filter(|_| remembers(key.0) && !front.owners.is_empty())?;
    Some(format!("{} : goto remember_{seconds}", name(key)))
}
