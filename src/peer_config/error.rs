//! Why a configuration of the other end cannot be written.

use super::Target;
use crate::policy::ProposalKind;

/// Why a peer cannot be seen from the other end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// The other end has to connect, and nothing says where to.
    #[error(
        "`{peer}` connects to us, and the configuration does not say at which address it finds us: give --address \
         ADDRESS, our address as the other end sees it"
    )]
    NoAddress {
        /// The peer.
        peer: String,
    },
    /// A child's selectors depend on a cluster that has not told its ranges.
    #[error(
        "child `{child}` refers to a cluster whose ranges are not configured: set service_cidrs, pod_cidrs or nodes \
         in its table, or give them with --range CLUSTER/services=PREFIX"
    )]
    Waiting {
        /// The child.
        child: String,
    },
    /// The peer has no child.
    #[error("`{peer}` has no children: there is no traffic to configure")]
    NoChildren {
        /// The peer.
        peer: String,
    },
}

/// Why a target cannot have the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// Nothing that is offered is known to the product.
    #[error("{} knows none of the {kind} suites of `{at}`; add one that it knows, such as \"{such_as}\"", target.product())]
    NoSuite {
        /// The product.
        target: Target,
        /// For what.
        kind: ProposalKind,
        /// The peer, or the peer and its child.
        at: String,
        /// A proposal as it would be written in our configuration.
        such_as: &'static str,
    },
    /// The product makes one Child SA for each pair of selectors, and a child of ours has several.
    #[error(
        "{} makes one Child SA for each pair of prefixes, and child `{child}` has several. Write one child for each \
         in our configuration:\n{split}", target.product()
    )]
    ManyPairs {
        /// The product.
        target: Target,
        /// The child.
        child: String,
        /// The children to write instead.
        split: String,
    },
    /// The product has no such thing.
    #[error("{} cannot {what}: {instead}", target.product())]
    Unsupported {
        /// The product.
        target: Target,
        /// What it cannot do.
        what: String,
        /// What to do about it, in our configuration or on the command line.
        instead: String,
    },
    /// A text has characters that cannot be written safely in the product's language.
    #[error("{what} has characters that cannot be written in a configuration of {}: {text}", target.product())]
    Unwritable {
        /// The product.
        target: Target,
        /// Whose text it is, such as "the peer's identity".
        what: &'static str,
        /// The text, escaped; "(secret)" if it is one.
        text: String,
    },
}
