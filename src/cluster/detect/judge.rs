//! What a round of probes and the clients' connects mean together.

use super::{
    tracked::Tally,
    verdict::{Certainty, Code},
};
use crate::config::ServiceMode;

/// The facts of a case.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub(super) mode: ServiceMode,
    /// Probes of the Service's address.
    pub(super) service: Tally,
    /// Probes of endpoints.
    pub(super) endpoints: Tally,
    /// Whether clients were refused, and not only left without an answer.
    pub(super) refused: bool,
    /// Whether no connect of a client was answered since the first that failed.
    pub(super) total_failure: bool,
    /// Whether every probe of the Service went to the same one of several endpoints (`sessionAffinity`): that it answered
    /// says nothing about the others.
    pub(super) one_sided: bool,
    /// Whether clients reach anything else of the cluster; none if nobody tried.
    pub(super) others: Option<bool>,
}

/// The verdict, if the facts allow one.
pub(super) fn judge(case: &Case) -> Option<(Code, Certainty)> {
    let Case { service, endpoints, .. } = *case;
    if service.total() == 0 || endpoints.total() == 0 {
        return None;
    }
    if case.refused {
        return judge_refused(case);
    }
    match case.mode {
        ServiceMode::Route => judge_routed(case),
        ServiceMode::Translate | ServiceMode::TranslateAndMasquerade => judge_translated(case),
    }
}

fn judge_routed(case: &Case) -> Option<(Code, Certainty)> {
    let Case { service, endpoints, .. } = *case;
    if service.all_answered() && case.one_sided {
        return match case.others {
            Some(true) => Some((Code::ServicePath, Certainty::Probable)),
            Some(false) if case.total_failure => Some((Code::RepliesLost, Certainty::Probable)),
            _ => None,
        };
    }
    if service.all_answered() {
        // That endpoints do not answer directly may be an overlay's way.
        return case.total_failure.then_some((Code::RepliesLost, Certainty::Probable));
    }
    if endpoints.answered == 0 {
        return Some(dead(endpoints));
    }
    if endpoints.all_answered() || service.answered == 0 {
        let code = if service.silent > 0 { Code::ServicePath } else { Code::Refused };
        return Some((code, Certainty::Probable));
    }
    // Some endpoints are dead, and the Service answers sometimes: the dead ones are reason enough.
    Some(dead(endpoints))
}

fn judge_translated(case: &Case) -> Option<(Code, Certainty)> {
    let Case { service, endpoints, .. } = *case;
    if !endpoints.all_answered() {
        return Some(dead(endpoints));
    }
    if service.answered == 0 {
        return Some((Code::NotTranslated, Certainty::Probable));
    }
    (service.all_answered() && case.total_failure).then_some((Code::RepliesLost, Certainty::Probable))
}

fn judge_refused(case: &Case) -> Option<(Code, Certainty)> {
    let Case { service, endpoints, .. } = *case;
    if endpoints.refused > 0 {
        return Some((Code::EndpointRefuses, Certainty::Certain));
    }
    if endpoints.all_answered() && service.all_answered() && !case.total_failure {
        return None;
    }
    if endpoints.answered == 0 && service.refused == 0 {
        return Some(dead(endpoints));
    }
    Some((Code::Refused, Certainty::Probable))
}

/// Endpoints that do not answer: refused if they say so themselves.
fn dead(endpoints: Tally) -> (Code, Certainty) {
    if endpoints.silent == 0 {
        (Code::EndpointRefuses, Certainty::Certain)
    } else {
        (Code::EndpointUnreachable, Certainty::Probable)
    }
}
