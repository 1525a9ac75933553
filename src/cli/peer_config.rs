//! `skybridge peer-config`: the configuration of the other end where that is not Skybridge.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use ipnet::IpNet;

use super::DEFAULT_CONFIG;
use super::output::{answer, failed, wrong};
use crate::config::{self, Diagnostic, Discovered, Endpoint, Inputs, Peer};
use crate::peer_config::{Address, Document, Options, Target, View};

/// Arguments of `skybridge peer-config`.
#[derive(Debug, Args)]
pub(super) struct PeerConfigArgs {
    /// The peer, by its name in our configuration
    peer: String,
    /// What the peer is
    #[arg(long = "for", value_name = "TARGET", value_parser = targets())]
    target: Target,
    /// The configuration file; conf.d/*.toml beside it is read as well
    #[arg(long, short, value_name = "FILE", env = "SKYBRIDGE_CONFIG", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Our address or host name as the peer sees it, where the configuration does not tell it
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    address: Option<Address>,
    /// Ranges of a cluster that the configuration leaves to the cluster, such as prod/services=172.16.0.0/16
    #[arg(long = "range", value_name = "CLUSTER/PART=PREFIX", value_parser = range)]
    ranges: Vec<Range>,
    /// Write the pre-shared key as well; otherwise nothing secret is read or written
    #[arg(long)]
    with_secrets: bool,
    /// Write each file into this folder instead, none over an existing one
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

fn targets() -> impl clap::builder::TypedValueParser<Value = Target> {
    use clap::builder::{PossibleValuesParser, TypedValueParser};
    PossibleValuesParser::new(Target::ALL.map(Target::word)).try_map(|word| word.parse::<Target>())
}

fn address(text: &str) -> Result<Address, String> {
    if let Ok(address) = text.parse() {
        return Ok(Address::Known(address));
    }
    let name = config::is_host_name(text).then(|| Address::Name(text.to_owned()));
    name.ok_or_else(|| "write an address or a host name".to_owned())
}

#[derive(Clone, Debug)]
struct Range {
    cluster: String,
    part: config::Part,
    prefix: IpNet,
}

fn range(text: &str) -> Result<Range, String> {
    let hint = || "write CLUSTER/services=PREFIX, CLUSTER/pods=PREFIX or CLUSTER/nodes=ADDRESS".to_owned();
    let (reference, prefix) = text.split_once('=').ok_or_else(hint)?;
    let (cluster, part) = reference.split_once('/').ok_or_else(hint)?;
    let part = match part {
        "services" => config::Part::Services,
        "pods" => config::Part::Pods,
        "nodes" => config::Part::Nodes,
        _ => return Err(hint()),
    };
    let prefix: IpNet = match prefix.parse() {
        Ok(prefix) => prefix,
        Err(_) => prefix.parse().map(|address: std::net::IpAddr| IpNet::from(address)).map_err(|_| hint())?,
    };
    if prefix.trunc() != prefix {
        return Err(format!("bits are set behind the prefix length; write {}", prefix.trunc()));
    }
    Ok(Range { cluster: cluster.to_owned(), part, prefix })
}

pub(super) fn peer_config(args: &PeerConfigArgs) -> ExitCode {
    let inputs = Inputs { discovered: discovered(&args.ranges), ..Inputs::from_process(&args.config) };
    let read = match args.with_secrets {
        true => config::load(&inputs).map(|config| (config.endpoint, config.peers, config.warnings)),
        false => config::describe(&inputs).map(|described| {
            (described.endpoint().clone(), described.peers().to_vec(), described.warnings().to_vec())
        }),
    };
    let (endpoint, peers, warnings): (Endpoint, Vec<Peer>, Vec<Diagnostic>) = match read {
        Ok(read) => read,
        Err(errors) => {
            eprintln!("{errors}");
            return wrong(format!("{} is not usable", args.config.display()));
        }
    };
    for warning in &warnings {
        eprintln!("{warning}");
    }
    let Some(peer) = peers.iter().find(|peer| peer.ike.name.as_str() == args.peer) else {
        let names: Vec<&str> = peers.iter().map(|peer| peer.ike.name.as_str()).collect();
        let asked = args.peer.escape_default();
        return wrong(format!("no peer `{asked}` is configured; the peers are: {}", names.join(", ")));
    };
    let options = Options { address: args.address.clone(), with_secrets: args.with_secrets };
    let view = match View::new(&endpoint, peer, &options) {
        Ok(view) => view,
        Err(error) => return wrong(error),
    };
    let documents = match args.target.render(&view) {
        Ok(documents) => documents,
        Err(error) => return failed(error),
    };
    if documents.iter().any(|document| document.secret) {
        eprintln!("skybridge: what is written contains a pre-shared key; keep it from others");
    }
    match &args.out {
        Some(folder) => match write(folder, &documents) {
            Ok(told) => answer(&told),
            Err(error) => failed(error),
        },
        None => answer(&joined(&documents)),
    }
}

fn discovered(ranges: &[Range]) -> BTreeMap<String, Discovered> {
    let mut found: BTreeMap<String, Discovered> = BTreeMap::new();
    for range in ranges {
        let known = found.entry(range.cluster.clone()).or_default();
        match range.part {
            config::Part::Services => known.services.push(range.prefix),
            config::Part::Pods => known.pods.push(range.prefix),
            config::Part::Nodes => known.nodes.push(range.prefix),
        }
    }
    found
}

/// All documents as one text; where there are several, a line in front of each says where it begins.
fn joined(documents: &[Document]) -> String {
    match documents {
        [one] => one.text.clone(),
        several => several
            .iter()
            .map(|document| format!("{0} ==== {1} ====\n{2}", document.comment, document.name, document.text))
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

fn write(folder: &Path, documents: &[Document]) -> Result<String, String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let mut told = Vec::new();
    for document in documents {
        let path = folder.join(&document.name);
        let mode = if document.secret { 0o600 } else { 0o644 };
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        file.and_then(|mut file| file.write_all(document.text.as_bytes())).map_err(|error| {
            match error.kind() {
                std::io::ErrorKind::AlreadyExists => {
                    format!("{} exists and is not overwritten: move it away first", path.display())
                }
                _ => format!("cannot write {}: {error}", path.display()),
            }
        })?;
        told.push(format!("wrote {}; it goes to {}", path.display(), document.place));
    }
    Ok(told.join("\n"))
}
