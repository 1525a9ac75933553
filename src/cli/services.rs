//! `skybridge services`: the clusters' Services, who answers them, and what keeps them from being answered.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use comfy_table::{Table, presets};

use super::ControlArgs;
use super::output::{answer, block_on, counted, duration, failed};
use crate::control::client::Client;
use crate::control::services::{ClusterStatus, ServicePortStatus, ServiceStatus, Services};

/// Arguments of `skybridge services`.
#[derive(Debug, Args)]
pub(super) struct ServicesArgs {
    /// Only this Service, in detail: NAME, NAMESPACE/NAME, or one of its addresses
    service: Option<String>,
    /// Only Services of this namespace
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Only Services that fail, have no endpoints or are not translated
    #[arg(long)]
    failing: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    control: ControlArgs,
}

impl ServicesArgs {
    fn wants(&self, service: &ServiceStatus) -> bool {
        let named = self.service.as_deref().is_none_or(|wanted| {
            service.name == wanted
                || wanted.split_once('/') == Some((&service.namespace, &service.name))
                || service.addresses.iter().any(|address| address == wanted)
        });
        let failing =
            matches!(service.state.as_str(), "failing" | "no-endpoints" | "left-out" | "refused-here");
        named
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == service.namespace)
            && (failing || !self.failing)
    }
}

pub(super) fn services(args: ServicesArgs) -> ExitCode {
    let client = Client::new(&args.control.control);
    let mut found = match block_on(client.services()) {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return failed(error),
        Err(error) => return failed(error),
    };
    for cluster in &mut found.clusters {
        cluster.services.retain(|service| args.wants(service));
    }
    let none = found.clusters.iter().all(|cluster| cluster.services.is_empty());
    if let Some(name) = args.service.as_ref().filter(|_| none) {
        return failed(format!("no Service {name} is known: `skybridge services` lists them"));
    }
    if args.json {
        return match serde_json::to_string_pretty(&found) {
            Ok(text) => answer(&text),
            Err(error) => failed(error),
        };
    }
    answer(&if args.service.is_some() { detail(&found) } else { overview(&found) })
}

/// One table a cluster, then what is wrong and what to do.
fn overview(found: &Services) -> String {
    if found.clusters.is_empty() {
        return "no cluster is configured: add [clusters.NAME] on the endpoint inside the cluster's VPC"
            .to_owned();
    }
    let mut out = String::new();
    for cluster in &found.clusters {
        head(cluster, &mut out);
        if cluster.services.is_empty() {
            continue;
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["NAMESPACE", "SERVICE", "ADDRESS", "PORTS", "ENDPOINTS", "STATE", "LAST CONNECT"]);
        for service in &cluster.services {
            table.add_row([
                service.namespace.clone(),
                service.name.clone(),
                or_dash(service.addresses.join(" ")),
                or_dash(service.ports.iter().map(port).collect::<Vec<_>>().join(" ")),
                service.ports.iter().map(endpoints).max().unwrap_or(0).to_string(),
                service.state.clone(),
                last_connect(service),
            ]);
        }
        let _ = writeln!(out, "{table}");
    }
    trouble(found, &mut out);
    out
}

fn head(cluster: &ClusterStatus, out: &mut String) {
    let source = match (&cluster.source, cluster.synced, cluster.age_seconds) {
        (None, ..) => "no source of Services".to_owned(),
        (Some(source), false, _) => format!("nothing read yet from {source}"),
        (Some(source), true, Some(age)) => format!("{source}, current {} ago", duration(age)),
        (Some(source), true, None) => source.clone(),
    };
    let count = counted(cluster.services.len(), "Service", "Services");
    let _ = writeln!(out, "{}: {}, {count}; {source}", cluster.name, cluster.mode);
}

fn port(port: &ServicePortStatus) -> String {
    format!("{}/{}", port.protocol, port.port)
}

/// How many answer at a port; a Pod with two addresses is one.
fn endpoints(port: &ServicePortStatus) -> usize {
    let (v6, v4): (Vec<_>, Vec<_>) = port.endpoints.iter().partition(|one| one.address.starts_with('['));
    v4.len().max(v6.len())
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

fn last_connect(service: &ServiceStatus) -> String {
    match (service.last_connect_ms, service.last_connect_seconds_ago) {
        (Some(took), Some(ago)) => format!("{took:.1} ms, {} ago", duration(ago)),
        _ => "-".to_owned(),
    }
}

/// Everything that needs the operator.
fn trouble(found: &Services, out: &mut String) {
    for cluster in &found.clusters {
        if let Some(problem) = &cluster.problem {
            let _ = writeln!(out, "\n{}: {problem}", cluster.name);
        }
        for service in &cluster.services {
            fault(service, out);
        }
    }
    if let Some(problem) = found.table.as_ref().and_then(|table| table.problem.as_ref()) {
        let _ = writeln!(out, "\ntranslation: {problem}");
    }
}

fn fault(service: &ServiceStatus, out: &mut String) {
    let Some(fault) = &service.fault else { return };
    let _ = writeln!(
        out,
        "\n{}/{}: {} ({}, {})",
        service.namespace, service.name, fault.what, fault.code, fault.certainty
    );
    for evidence in &fault.evidence {
        let _ = writeln!(out, "  seen: {evidence}");
    }
    let _ = writeln!(out, "  {}", fault.action);
}

fn detail(found: &Services) -> String {
    let mut out = String::new();
    for cluster in &found.clusters {
        for service in &cluster.services {
            service_detail(cluster, service, &mut out);
        }
    }
    out
}

fn service_detail(cluster: &ClusterStatus, service: &ServiceStatus, out: &mut String) {
    let _ = writeln!(out, "{}/{}: {} ({})", service.namespace, service.name, service.state, service.kind);
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "  {name:<12} {value}");
    };
    line("cluster", format!("{} ({})", cluster.name, cluster.mode));
    line("addresses", or_dash(service.addresses.join(" ")));
    for of in &service.ports {
        let name = if of.name.is_empty() { String::new() } else { format!(" {}", of.name) };
        line("port", format!("{}{name}, {}", port(of), counted(endpoints(of), "endpoint", "endpoints")));
        for endpoint in &of.endpoints {
            let pod = endpoint.pod.as_ref().map(|pod| format!(" {pod}")).unwrap_or_default();
            let node = endpoint.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
            line("", format!("{}{pod}{node}", endpoint.address));
        }
    }
    line("last connect", last_connect(service));
    if let (Some(p50), Some(p99)) = (service.connect_p50_ms, service.connect_p99_ms) {
        line("connect time", format!("p50 {p50:.1} ms, p99 {p99:.1} ms"));
    }
    line(
        "connects",
        format!(
            "{} answered, {} unanswered, {} refused",
            service.answered, service.unanswered, service.refused
        ),
    );
    fault(service, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::services::Fault;

    fn sample() -> Services {
        let service = |name: &str, state: &str| ServiceStatus {
            namespace: "default".to_owned(),
            name: name.to_owned(),
            addresses: vec!["172.16.0.33".to_owned()],
            state: state.to_owned(),
            ports: vec![ServicePortStatus {
                protocol: "tcp".to_owned(),
                port: 3306,
                ..ServicePortStatus::default()
            }],
            ..ServiceStatus::default()
        };
        let fault = Fault {
            code: "reply-bypasses-node".to_owned(),
            action: "choose one".to_owned(),
            ..Fault::default()
        };
        let mysql = ServiceStatus { fault: Some(fault), ..service("mysql", "failing") };
        let cluster = ClusterStatus {
            name: "prod".to_owned(),
            mode: "route".to_owned(),
            services: vec![mysql, service("nginx", "ok")],
            problem: Some("the API server answers 403".to_owned()),
            ..ClusterStatus::default()
        };
        Services { clusters: vec![cluster], ..Services::default() }
    }

    fn args(service: Option<&str>, failing: bool) -> ServicesArgs {
        ServicesArgs {
            service: service.map(str::to_owned),
            namespace: None,
            failing,
            json: false,
            control: ControlArgs { control: "/x".into() },
        }
    }

    #[test]
    fn faults_and_problems_stand_below_the_table_with_what_to_do() {
        let text = overview(&sample());
        let row = text.lines().find(|line| line.contains("mysql")).unwrap();
        assert!(row.contains("tcp/3306") && row.contains("failing"), "{text}");
        assert!(text.contains("prod: the API server answers 403"), "{text}");
        assert!(text.contains("(reply-bypasses-node, ") && text.contains("\n  choose one"), "{text}");
    }

    #[test]
    fn a_service_is_found_by_name_by_namespace_and_name_and_by_address() {
        let services = &sample().clusters[0].services;
        let found = |args: ServicesArgs| services.iter().filter(|service| args.wants(service)).count();
        for (wanted, count) in [("mysql", 1), ("default/mysql", 1), ("other/mysql", 0), ("172.16.0.33", 2)] {
            assert_eq!(found(args(Some(wanted), false)), count, "{wanted}");
        }
        assert_eq!(found(args(None, true)), 1);
    }

    #[test]
    fn without_a_cluster_it_says_where_one_is_configured() {
        assert!(overview(&Services::default()).contains("[clusters.NAME]"));
    }
}
