//! What `swanctl --list-sas --pretty` says, as types.

use std::collections::BTreeMap;

/// A section of the answer: values, lists and further sections.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Section {
    values: BTreeMap<String, String>,
    lists: BTreeMap<String, Vec<String>>,
    sections: Vec<(String, Section)>,
}

/// An IKE SA of strongSwan.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct IkeSa {
    pub state: String,
    pub initiator_spi: String,
    pub responder_spi: String,
    pub encryption: String,
    pub key_bits: String,
    pub group: String,
    pub children: Vec<ChildSa>,
}

/// A Child SA of strongSwan.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ChildSa {
    pub name: String,
    pub state: String,
    pub spi_in: String,
    pub spi_out: String,
    pub encryption: String,
    pub key_bits: String,
    /// The group of the key exchange that made its keys, empty without one.
    pub group: String,
    pub local: Vec<String>,
    pub remote: Vec<String>,
}

/// Reads the answer; what is not understood is left out.
pub fn parse(text: &str) -> Vec<IkeSa> {
    let mut lines = text.lines().map(str::trim);
    let root = section(&mut lines);
    let events = root.sections.iter().filter(|(name, _)| name == "list-sa event");
    events.flat_map(|(_, event)| &event.sections).map(|(_, sa)| ike_sa(sa)).collect()
}

fn ike_sa(section: &Section) -> IkeSa {
    let value = |key: &str| section.values.get(key).cloned().unwrap_or_default();
    let children = section.sections.iter().filter(|(name, _)| name == "child-sas");
    IkeSa {
        state: value("state"),
        initiator_spi: value("initiator-spi"),
        responder_spi: value("responder-spi"),
        encryption: value("encr-alg"),
        key_bits: value("encr-keysize"),
        group: value("dh-group"),
        children: children.flat_map(|(_, all)| &all.sections).map(|(_, child)| child_sa(child)).collect(),
    }
}

fn child_sa(section: &Section) -> ChildSa {
    let value = |key: &str| section.values.get(key).cloned().unwrap_or_default();
    let list = |key: &str| section.lists.get(key).cloned().unwrap_or_default();
    ChildSa {
        name: value("name"),
        state: value("state"),
        spi_in: value("spi-in"),
        spi_out: value("spi-out"),
        encryption: value("encr-alg"),
        key_bits: value("encr-keysize"),
        group: value("dh-group"),
        local: list("local-ts"),
        remote: list("remote-ts"),
    }
}

fn section<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Section {
    let mut section_read = Section::default();
    while let Some(line) = lines.next() {
        if line == "}" {
            break;
        } else if let Some(name) = line.strip_suffix(" {") {
            let inner = section(lines);
            section_read.sections.push((name.to_owned(), inner));
        } else if let Some(name) = line.strip_suffix(" = [") {
            let items = lines.take_while(|line| *line != "]").map(str::to_owned).collect();
            section_read.lists.insert(name.to_owned(), items);
        } else if let Some((name, value)) = line.split_once(" = ") {
            section_read.values.insert(name.to_owned(), value.to_owned());
        }
    }
    section_read
}
