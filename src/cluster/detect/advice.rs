//! What an operator is told: what happens, and which change helps.

use std::{fmt::Write as _, net::SocketAddr};

use ipnet::IpNet;

use super::verdict::{Code, Evidence, Subject};
use crate::config::ServiceMode;

/// What the words are about.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) subject: &'a Subject,
    pub(super) evidence: &'a Evidence,
    pub(super) mode: ServiceMode,
    pub(super) pod_cidrs: &'a [IpNet],
    /// Endpoints on the routed node, and all of them, where that is known.
    pub(super) local_of: Option<(usize, usize)>,
}

impl Context<'_> {
    fn endpoint(&self) -> String {
        let Evidence { endpoint, pod, node, .. } = self.evidence;
        let mut text = match (endpoint, pod) {
            (Some(endpoint), Some(pod)) => format!("Pod {pod} at {endpoint}"),
            (Some(endpoint), None) => format!("its Pod at {endpoint}"),
            (None, _) => "its Pod".to_owned(),
        };
        if let Some(node) = node {
            let _ = write!(text, " on {node}");
        }
        text
    }

    fn reporter(&self) -> String {
        self.evidence.reporter.map_or_else(|| "a router".to_owned(), |address| address.to_string())
    }

    fn pod_range(&self) -> String {
        let same = |range: &&IpNet| range.addr().is_ipv4() == self.subject.vip.is_ipv4();
        match self.pod_cidrs.iter().find(same) {
            Some(range) => range.to_string(),
            None => "<the Pods' range>".to_owned(),
        }
    }

    fn target(&self) -> SocketAddr {
        SocketAddr::new(self.subject.vip, self.subject.port)
    }

    fn probes(&self) -> String {
        let ((service, services), (endpoint, endpoints)) =
            (self.evidence.service_probes, self.evidence.endpoint_probes);
        format!(
            "from this endpoint {service} of {services} connects to {} were answered and {endpoint} of {endpoints} to its Pods",
            self.target()
        )
    }

    /// "7 of 12 connects were answered", if some were.
    fn ratio(&self) -> String {
        let Evidence { answered, failed, .. } = self.evidence;
        if *answered == 0 || *failed == 0 {
            return String::new();
        }
        let mut text = format!(" Of the last {} connects {answered} were answered", answered + failed);
        if let (Some((local, all)), Some(node)) = (self.local_of, &self.evidence.routed_node) {
            let _ = write!(
                text,
                "; {local} of {all} endpoints is on {node}, and only that one's answers come back"
            );
        }
        text.push('.');
        text
    }
}

/// The summary and the advice for a verdict.
pub(super) fn words(code: Code, context: &Context<'_>) -> (String, Vec<String>) {
    let endpoint = context.endpoint();
    let target = context.target();
    match code {
        Code::UntranslatedReply => {
            let requests = match &context.evidence.routed_node {
                Some(node) => format!("requests go to {node}, "),
                None => String::new(),
            };
            let client = context.evidence.client.map_or_else(String::new, |client| format!(" to {client}"));
            let summary = format!(
                "{requests}{endpoint} answers{client} directly, from its own address instead of the Service's, and the \
                 client drops that.{}",
                context.ratio()
            );
            (summary, translation(context))
        }
        Code::ServicePath => {
            let requests = match (&context.evidence.routed_node, &context.evidence.node) {
                (Some(routed), Some(node)) if routed != node => {
                    format!("requests go to {routed}, {endpoint}; its answers do not come back translated: ")
                }
                _ => "the endpoints answer, but not by way of the Service: ".to_owned(),
            };
            (format!("{requests}{}.{}", context.probes(), context.ratio()), translation(context))
        }
        Code::NotTranslated => {
            let advice = vec![
                "see `skybridge status` for what keeps the translation table from being loaded, and whether another \
                 firewall on this machine drops forwarded packets"
                    .to_owned(),
            ];
            (
                format!(
                    "the endpoints answer, but the translation here does not lead to them: {}.",
                    context.probes()
                ),
                advice,
            )
        }
        Code::EndpointUnreachable => {
            let mut advice = vec![
                format!("see whether {endpoint} runs and listens"),
                "let the Pods' security group and NetworkPolicies admit this endpoint and the office's ranges (as CIDRs)"
                    .to_owned(),
                "see that this endpoint's subnet has a route to the Pods".to_owned(),
            ];
            if context.mode == ServiceMode::Route {
                advice.push(
                    "in an overlay network Pods have no route from outside: then this probe says nothing"
                        .to_owned(),
                );
            }
            (format!("{endpoint} does not answer: {}.{}", context.probes(), context.ratio()), advice)
        }
        Code::EndpointRefuses => {
            let advice = vec![format!(
                "make the Pod listen on the Service's targetPort, or set targetPort to where it listens ({})",
                context
                    .evidence
                    .endpoint
                    .map_or_else(|| "see the EndpointSlice".to_owned(), |at| format!("now {}", at.port()))
            )];
            (format!("{endpoint} refuses connections: nothing listens there.{}", context.ratio()), advice)
        }
        Code::NoEndpoints => {
            let name = context.subject.service.as_ref();
            let advice = vec![match name {
                Some(service) => format!(
                    "see why no Pod is ready: `kubectl -n {0} get endpointslices -l kubernetes.io/service-name={1}`; \
                     does its selector match?",
                    service.namespace, service.name
                ),
                None => "see why no Pod is ready".to_owned(),
            }];
            ("the Service has no ready endpoint, so connections are refused.".to_owned(), advice)
        }
        Code::Refused => {
            let advice = vec![
                "see whether a NetworkPolicy or the node's firewall rejects the office's ranges".to_owned(),
                "see whether the node's kube-proxy is current (its log; it rejects Services that it thinks have no endpoint)"
                    .to_owned(),
            ];
            let by = context.evidence.reporter.map_or_else(String::new, |by| format!(" by {by}"));
            (format!("connections are refused{by}: {}.", context.probes()), advice)
        }
        Code::RepliesLost => {
            let summary = format!(
                "only clients behind the tunnel get no answer: {}.{}",
                context.probes(),
                context.ratio()
            );
            if context.mode == ServiceMode::TranslateAndMasquerade {
                let advice = vec![
                    "see whether another firewall on this machine, or its reverse path filter, drops forwarded packets"
                        .to_owned(),
                ];
                return (summary, advice);
            }
            let mut advice = vec![
                "give the Pods' and nodes' subnets a VPC route for the office's ranges to this endpoint"
                    .to_owned(),
                "let the Pods' security group and NetworkPolicies admit the office's ranges (as CIDRs)"
                    .to_owned(),
                "switch this machine's source/destination check off".to_owned(),
            ];
            if context.mode == ServiceMode::Translate {
                advice.push(format!(
                    "or write `services = \"translate-and-masquerade\"` in [clusters.{}]: no VPC route is needed then, and Pods see \
                     this endpoint's address",
                    context.subject.cluster
                ));
            }
            (summary, advice)
        }
        Code::RoutingLoop => {
            let advice = vec![
                format!(
                    "route the Service range to a node from this endpoint's subnet only: the node's own route table must not \
                     lead {} back to it",
                    context.subject.vip
                ),
                "see whether the Service has this port".to_owned(),
            ];
            (format!("packets to {target} go in circles: {} gave up on them.", context.reporter()), advice)
        }
        Code::NoRoute => {
            let advice = vec![format!(
                "add a route for the Service range, or repair it: {} has none that works",
                context.reporter()
            )];
            (format!("{} says that {target} cannot be reached.", context.reporter()), advice)
        }
        Code::Prohibited => {
            let advice = vec![format!("let the filter at {} admit the office's ranges", context.reporter())];
            (format!("{} forbids packets to {target}.", context.reporter()), advice)
        }
        Code::OutsideSelectors => {
            let client = context
                .evidence
                .client
                .map_or_else(|| "the client".to_owned(), |client| client.ip().to_string());
            let advice = vec![format!(
                "add {} and {client} to the traffic selectors of the tunnel, at both ends (`local` and `remote` of its child)",
                context.subject.vip
            )];
            (
                format!("the tunnel's traffic selectors do not admit packets between {client} and {target}."),
                advice,
            )
        }
    }
}

/// The changes that bring answers back under the Service's address.
fn translation(context: &Context<'_>) -> Vec<String> {
    let name = &context.subject.cluster;
    match context.mode {
        ServiceMode::Route => vec![
            format!("write `services = \"translate\"` in [clusters.{name}] of this endpoint's configuration"),
            format!(
                "set kube-proxy's `detectLocalMode: ClusterCIDR` and `clusterCIDR: {}`, then restart its DaemonSet",
                context.pod_range()
            ),
            "set kube-proxy's `iptables.masqueradeAll: true` (or `nftables.masqueradeAll: true`), which hides Pods' \
             addresses from each other and may break NetworkPolicies"
                .to_owned(),
            "with Cilium instead of kube-proxy: `bpf.lbExternalClusterIP=true`".to_owned(),
        ],
        ServiceMode::Translate => vec![
            format!("write `services = \"translate-and-masquerade\"` in [clusters.{name}], so that answers must come back this way"),
            "make the Pods' answers come back through this endpoint by one way only: see the VPC's routes for the office's \
             ranges"
                .to_owned(),
        ],
        ServiceMode::TranslateAndMasquerade => vec![
            "see `skybridge status` for what keeps the translation table from being loaded".to_owned(),
        ],
    }
}
