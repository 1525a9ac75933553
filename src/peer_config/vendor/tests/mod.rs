//! What is written for devices and clouds: the same each time, in statements that their documentation has, and with
//! nothing of ours that could end a word, a quotation or a line there.

mod devices;
mod golden;
mod hostile;
mod rules;
mod scripts;

pub(super) use crate::peer_config::testing::{KEY, PLAIN};
use crate::peer_config::testing::{view_with, view_with_key};
use crate::peer_config::{Document, Options, RenderError, Target, View};

/// Every target of this folder.
pub(super) const TARGETS: [Target; 9] = [
    Target::Cisco,
    Target::Fortigate,
    Target::Mikrotik,
    Target::Vyos,
    Target::Opnsense,
    Target::Aws,
    Target::Azure,
    Target::Gcp,
    Target::Alibaba,
];

/// Targets that are written as a shell script.
pub(super) const SCRIPTS: [Target; 5] =
    [Target::Opnsense, Target::Aws, Target::Azure, Target::Gcp, Target::Alibaba];

/// The children of [`PLAIN`], to be replaced.
pub(super) const CHILDREN: &str = r#"[peers.branch.children.lan]
local = ["172.16.0.0/16"]
remote = ["192.168.10.0/24"]
"#;

/// [`PLAIN`] with other children.
pub(super) fn with_children(children: &str) -> String {
    PLAIN.replace(CHILDREN, children)
}

/// [`PLAIN`] with the ends' identities replaced.
pub(super) fn with_ids(ours: &str, theirs: &str) -> String {
    PLAIN
        .replace("local_id = \"203.0.113.10\"", &format!("local_id = \"{ours}\""))
        .replace("remote_id = \"198.51.100.7\"", &format!("remote_id = \"{theirs}\""))
}

/// One child with every address at both ends.
pub(super) const EVERY: &str = r#"[peers.branch.children.all]
local = ["0.0.0.0/0"]
remote = ["0.0.0.0/0"]
routes = ["192.168.10.0/24"]
"#;

/// One child with several networks.
pub(super) const SEVERAL: &str = r#"[peers.branch.children.lan]
local = ["172.16.0.0/16", "10.0.2.0/24"]
remote = ["192.168.10.0/24", "192.168.20.0/24"]
"#;

/// A child for each pair.
pub(super) const PAIRS: &str = r#"[peers.branch.children.services]
local = ["172.16.0.0/16"]
remote = ["192.168.10.0/24"]
[peers.branch.children.pods]
local = ["10.0.2.0/24"]
remote = ["192.168.10.0/24"]
"#;

/// The view without secrets.
pub(super) fn seen(config: &str) -> View {
    view_with(config, &Options::default())
}

/// The view with this pre-shared key.
pub(super) fn seen_with_key(config: &str, key: &str) -> View {
    view_with_key(config, &Options { with_secrets: true, ..Options::default() }, key)
}

/// The one document of a target.
pub(super) fn written(target: Target, view: &View) -> Result<Document, RenderError> {
    let documents = target.render(view)?;
    let [document] = <[Document; 1]>::try_from(documents).unwrap();
    Ok(document)
}

/// The lines that are neither blank nor comments.
pub(super) fn statements(document: &Document) -> Vec<&str> {
    let is_statement =
        |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with(document.comment);
    document.text.lines().filter(is_statement).collect()
}
