//! What the operator wants done to a peer's packets besides protecting them.

use super::ecn;
use crate::wire::ip::{Ecn, IpVersion, tcp};

/// An MSS is never lowered below this, however small the path claims to be.
const MIN_MSS: u16 = 256;

/// Clamping of the maximum segment size in SYN and SYN-ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClampMss {
    /// To what fits the inner MTU.
    #[default]
    Auto,
    /// Never.
    Off,
    /// To at most these octets, and to what fits.
    To(u16),
}

/// Settings of one peer for the data path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Treatment {
    /// An upper bound of the inner MTU, whatever the path carries; `None` for none.
    pub max_inner_mtu: Option<u16>,
    /// Clamping of TCP segment sizes.
    pub clamp_mss: ClampMss,
    /// Whether the DSCP of inner packets shows outside
    /// ([RFC 4301 section 5.1.2](https://www.rfc-editor.org/rfc/rfc4301#section-5.1.2)).
    pub copy_dscp: bool,
    /// Whether congestion is signalled across the tunnel ([RFC 6040](https://www.rfc-editor.org/rfc/rfc6040)).
    pub copy_ecn: bool,
}

impl Default for Treatment {
    fn default() -> Self {
        Self { max_inner_mtu: None, clamp_mss: ClampMss::Auto, copy_dscp: true, copy_ecn: true }
    }
}

impl Treatment {
    /// The inner MTU, bounded.
    pub(crate) fn bound(&self, inner_mtu: u16) -> u16 {
        self.max_inner_mtu.map_or(inner_mtu, |bound| bound.min(inner_mtu))
    }

    /// The largest segment size a SYN may announce, if any is set.
    pub(crate) fn mss(&self, version: IpVersion, inner_mtu: u16) -> Option<u16> {
        let fits = tcp::mss_for_mtu(version, inner_mtu).max(MIN_MSS);
        match self.clamp_mss {
            ClampMss::Auto => Some(fits),
            ClampMss::Off => None,
            ClampMss::To(limit) => Some(limit.min(fits)),
        }
    }

    /// TOS or traffic class octet of the outer header for an inner packet's marks.
    pub(crate) fn outer_tos(&self, dscp: u8, ecn: Ecn) -> u8 {
        let dscp = if self.copy_dscp { dscp } else { 0 };
        let ecn = if self.copy_ecn { ecn } else { Ecn::from_bits(0) };
        ecn::encapsulate(dscp, ecn)
    }

    /// What counts of a received outer header's ECN field.
    pub(crate) fn outer_ecn(&self, ecn: Ecn) -> Ecn {
        if self.copy_ecn { ecn } else { Ecn::from_bits(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clamping_follows_the_setting() {
        let with = |clamp_mss| Treatment { clamp_mss, ..Treatment::default() };
        assert_eq!(with(ClampMss::Auto).mss(IpVersion::V4, 1438), Some(1398));
        assert_eq!(with(ClampMss::Auto).mss(IpVersion::V6, 1438), Some(1378));
        assert_eq!(with(ClampMss::Off).mss(IpVersion::V4, 1438), None);
        assert_eq!(with(ClampMss::To(1200)).mss(IpVersion::V4, 1438), Some(1200));
        assert_eq!(with(ClampMss::To(1460)).mss(IpVersion::V4, 1438), Some(1398));
    }

    #[test]
    fn marks_show_outside_unless_told_not_to() {
        let ect = Ecn::from_bits(2);
        let both = Treatment::default();
        assert_eq!(both.outer_tos(46, ect), 46 << 2 | 2);
        assert_eq!(Treatment { copy_dscp: false, ..both }.outer_tos(46, ect), 2);
        let no_ecn = Treatment { copy_ecn: false, ..both };
        assert_eq!(no_ecn.outer_tos(46, ect), 46 << 2);
        assert_eq!(no_ecn.outer_ecn(Ecn::from_bits(3)), Ecn::from_bits(0));
        assert_eq!(both.outer_ecn(Ecn::from_bits(3)), Ecn::from_bits(3));
    }
}
