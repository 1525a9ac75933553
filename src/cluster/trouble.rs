//! What the operator should know of clusters, with what to do: sources that fail or are silent, Services that cannot be
//! translated, a table that cannot be loaded, connection tracking that fills up.

use std::time::{Duration, SystemTime};

use ipnet::IpNet;

use super::{
    conntrack::{Fill, Usage},
    model::SourceHealth,
    select::LeftOut,
};
use crate::config::{self, ServiceMode};

/// The API says at least every 75 s that it is alive; what is younger than this is current.
const FRESH: Duration = Duration::from_secs(90);

/// Something that the operator should know of, until it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Stable name.
    pub code: &'static str,
    /// Whether Services are not reached because of it.
    pub severe: bool,
    /// What is wrong.
    pub what: String,
    /// Which cluster, or part of the kernel.
    pub where_: String,
    /// What to do.
    pub remedy: String,
}

/// What is wrong with a cluster's source; a state that is too old is severe.
pub(super) fn of_source(config: &config::Cluster, health: &SourceHealth, now: SystemTime) -> Option<Trouble> {
    let name = &config.name;
    let age = health.current_at.and_then(|at| now.duration_since(at).ok());
    let limit = config.stale_after;
    let old = health.synced && age.is_some_and(|age| age >= limit);
    // Not the age itself, which would be news every time.
    let what = match &health.problem {
        Some(problem) if old => format!("{problem}; what is known is older than {} s", limit.as_secs()),
        Some(problem) => problem.clone(),
        None if old => format!("nothing has been heard for more than {} s", limit.as_secs()),
        None => return None,
    };
    Some(Trouble {
        code: if old { "cluster-stale" } else { "cluster-source" },
        severe: old || !health.synced,
        what: format!("cluster {name}: {what}"),
        where_: health.source.clone(),
        remedy: match (config.services, health.synced, age) {
            (_, true, Some(age)) if age < FRESH => "everything else of the cluster is known and current",
            (ServiceMode::Route, ..) => {
                "until then `skybridge services` shows what was known last, if anything"
            }
            (_, true, _) => {
                "Services are translated as they were known last; Pods that have moved since do not answer"
            }
            (_, false, _) => "no Service of it is translated until its source has been read",
        }
        .to_owned(),
    })
}

/// Services that are not translated because of what they say.
pub(super) fn of_left_out(name: &str, left_out: &[LeftOut]) -> Option<Trouble> {
    const SHOWN: usize = 3;
    if left_out.is_empty() {
        return None;
    }
    let mut said: Vec<String> = left_out.iter().take(SHOWN).map(ToString::to_string).collect();
    if let Some(more @ 1..) = left_out.len().checked_sub(SHOWN) {
        said.push(format!("and {more} more"));
    }
    Some(Trouble {
        code: "services-left-out",
        severe: false,
        what: format!("cluster {name}: {}", said.join("; ")),
        where_: format!("[clusters.{name}]"),
        remedy: "these Services are not translated; all others are".to_owned(),
    })
}

/// Connection tracking that is about to be full, or lost something since an earlier look.
pub(super) fn of_connections(usage: &Usage, earlier: Option<&Usage>) -> Option<Trouble> {
    let what = usage.alarm(earlier)?;
    Some(Trouble {
        code: "connections-full",
        severe: usage.fill() != Fill::High,
        what,
        where_: "nf_conntrack".to_owned(),
        remedy:
            "raise connections in [clusters.NAME] (each takes some 300 octets), or look who opens so many: \
                 conntrack -L"
                .to_owned(),
    })
}

/// A table that is not as it should be.
pub(super) fn of_table(failure: &str) -> Trouble {
    Trouble {
        code: "service-table",
        severe: true,
        what: failure.to_owned(),
        where_: "table inet skybridge".to_owned(),
        remedy: "Services are translated as they were last loaded until this is mended; it is tried again"
            .to_owned(),
    }
}

/// Room for fewer connections than wanted.
pub(super) fn of_limit(limit: &str) -> Trouble {
    Trouble {
        code: "connections-limit",
        severe: false,
        what: limit.to_owned(),
        where_: "nf_conntrack_max".to_owned(),
        remedy: "until then new connections fail once so many are open".to_owned(),
    }
}

/// Two clusters that claim the same cluster addresses: the second one is left out.
pub(super) fn of_overlap(name: &str, range: IpNet, first: &str) -> Trouble {
    Trouble {
        code: "clusters-overlap",
        severe: true,
        what: format!("cluster {name}: its Service addresses {range} are cluster {first}'s too"),
        where_: format!("[clusters.{name}]"),
        remedy: format!(
            "Services of {name} are not translated here: give it Service addresses of its own, or an endpoint of its own"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::config::InternalLocal;

    fn cluster() -> config::Cluster {
        config::Cluster {
            name: "prod".to_owned(),
            service_cidrs: Vec::new(),
            pod_cidrs: Vec::new(),
            nodes: Vec::new(),
            services: ServiceMode::Translate,
            source: None,
            zone: None,
            ping: true,
            internal_local: InternalLocal::Cluster,
            stale_after: Duration::from_secs(600),
            connections: 4_096,
        }
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn health(current_at: Option<u64>, problem: Option<&str>) -> SourceHealth {
        SourceHealth {
            source: "https://10.0.0.1".to_owned(),
            synced: current_at.is_some(),
            current_at: current_at.map(at),
            problem: problem.map(str::to_owned),
        }
    }

    #[test]
    fn a_source_that_is_well_is_no_trouble() {
        assert_eq!(of_source(&cluster(), &health(Some(1_000), None), at(1_599)), None);
        assert_eq!(of_source(&cluster(), &health(None, None), at(1_599)), None);
    }

    #[test]
    fn silence_is_told_once_it_has_lasted_and_its_text_stays_the_same() {
        let first = of_source(&cluster(), &health(Some(1_000), None), at(1_600)).unwrap();
        assert_eq!((first.code, first.severe), ("cluster-stale", true));
        assert_eq!(of_source(&cluster(), &health(Some(1_000), None), at(9_999)), Some(first));
    }

    #[test]
    fn a_failing_source_is_a_warning_while_what_is_known_is_fresh() {
        let problem = Some("the API server answers 403");
        let fresh = of_source(&cluster(), &health(Some(1_000), problem), at(1_001)).unwrap();
        assert_eq!((fresh.code, fresh.severe), ("cluster-source", false));
        assert!(fresh.what.contains("403") && fresh.remedy.contains("current"));
        let silent = of_source(&cluster(), &health(Some(1_000), problem), at(1_500)).unwrap();
        assert!(!silent.severe && silent.remedy.contains("known last"));
        let routed = config::Cluster { services: ServiceMode::Route, ..cluster() };
        let told = of_source(&routed, &health(Some(1_000), problem), at(1_500)).unwrap();
        assert!(!told.remedy.contains("translated"), "nothing is translated there: {}", told.remedy);
        let old = of_source(&cluster(), &health(Some(1_000), problem), at(2_000)).unwrap();
        assert_eq!((old.code, old.severe), ("cluster-stale", true));
        let never = of_source(&cluster(), &health(None, problem), at(2_000)).unwrap();
        assert!(never.severe && never.remedy.contains("no Service"));
    }

    #[test]
    fn connection_tracking_is_told_before_it_is_full_and_when_it_lost_something() {
        let usage = |count, drop| Usage { count, max: 1_000, drop, ..Usage::default() };
        assert_eq!(of_connections(&usage(700, 3), None), None);
        assert!(!of_connections(&usage(760, 3), None).unwrap().severe);
        assert!(of_connections(&usage(950, 3), None).unwrap().severe);
        let lost = of_connections(&usage(10, 5), Some(&usage(10, 3))).unwrap();
        assert!(lost.severe && lost.what.contains("2 packets"), "{lost:?}");
    }
}
