//! `cluster:NAME/services`, `/pods` and `/nodes` in selectors: the ranges of a cluster, as configured or as the cluster
//! itself told them.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::config::types::{Cluster, Discovered, Part, Reference};

/// The ranges of each configured cluster.
#[derive(Debug, Default)]
pub(crate) struct References {
    clusters: BTreeMap<String, Known>,
    /// Parts for which the cluster's own word was asked, since nothing was configured.
    pub(crate) relied_on: Vec<Reference>,
}

#[derive(Debug)]
struct Known {
    configured: Discovered,
    discovered: Discovered,
    has_source: bool,
}

/// What a reference stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// These ranges.
    Ranges(Vec<IpNet>),
    /// Not known before the cluster has told.
    NotYet,
}

impl References {
    /// What is configured, else what was discovered.
    pub(crate) fn new(clusters: &[Cluster], discovered: &BTreeMap<String, Discovered>) -> Self {
        let known = clusters.iter().map(|cluster| {
            let configured = Discovered {
                services: cluster.service_cidrs.clone(),
                pods: cluster.pod_cidrs.clone(),
                nodes: cluster.nodes.iter().copied().map(IpNet::from).collect(),
            };
            let discovered = discovered.get(&cluster.name).cloned().unwrap_or_default();
            (cluster.name.clone(), Known { configured, discovered, has_source: cluster.source.is_some() })
        });
        Self { clusters: known.collect(), relied_on: Vec::new() }
    }

    /// What the text after `cluster:` stands for.
    ///
    /// # Errors
    /// What is wrong with it, and a hint.
    pub(crate) fn resolve(&mut self, text: &str) -> Result<Meaning, (String, String)> {
        let (name, part) = text.split_once('/').unwrap_or((text, ""));
        let Some(known) = self.clusters.get(name) else {
            let names: Vec<_> = self.clusters.keys().map(String::as_str).collect();
            let hint = match names.is_empty() {
                true => format!("add a table [clusters.{name}]"),
                false => format!("the clusters are: {}", names.join(", ")),
            };
            return Err((format!("there is no cluster `{name}`"), hint));
        };
        let (part, key) = match part {
            "services" => (Part::Services, "service_cidrs"),
            "pods" => (Part::Pods, "pod_cidrs"),
            "nodes" => (Part::Nodes, "nodes"),
            _ => {
                let hint =
                    format!("write cluster:{name}/services, cluster:{name}/pods or cluster:{name}/nodes");
                return Err((format!("`{part}` is no part of a cluster"), hint));
            }
        };
        let (configured, discovered) = (known.configured.part(part), known.discovered.part(part));
        if !configured.is_empty() {
            return Ok(Meaning::Ranges(configured.to_vec()));
        }
        if !known.has_source {
            let hint = format!("set {key} in [clusters.{name}], or a source: kubernetes or objects");
            return Err((format!("nobody says what cluster:{text} is"), hint));
        }
        let meaning = match discovered.is_empty() {
            true => Meaning::NotYet,
            false => Meaning::Ranges(discovered.to_vec()),
        };
        let reference = Reference { cluster: name.to_owned(), part };
        if !self.relied_on.contains(&reference) {
            self.relied_on.push(reference);
        }
        Ok(meaning)
    }
}
