//! The configuration of the other end where that is not Skybridge, written from ours.
//!
//! [`View::new`] turns a checked peer round: what is local to us is remote there, where we wait the other end connects.
//! Each [`Target`] has a file that writes a view as [`Document`]s in that product's own language. What a product cannot
//! do is a [`RenderError`]; what it does in another way, or what is still to be filled in, stands in the head of the
//! document. Secrets stand in a document only if the view was given them.
//!
//! It reads no file and speaks to nobody.

mod choice;
mod document;
mod error;
mod libreswan;
mod strongswan;
mod text;
mod vendor;
mod view;

use std::fmt;
use std::str::FromStr;

pub use choice::{esp_suites, first_esp, first_ike, ike_suites};
pub use document::{Document, Draft, Proven};
pub use error::{RenderError, ViewError};
pub use text::{hexadecimal, plain, quotable};
pub use view::{Address, Child, End, Options, Psk, Start, View};

/// A product whose configuration can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// strongSwan, `swanctl.conf`.
    Strongswan,
    /// libreswan, `ipsec.conf` and `ipsec.secrets`.
    Libreswan,
    /// Cisco IOS XE, its configuration mode.
    Cisco,
    /// FortiGate, the FortiOS command line.
    Fortigate,
    /// MikroTik RouterOS 7, commands.
    Mikrotik,
    /// VyOS, `set` commands.
    Vyos,
    /// OPNsense, its REST API.
    Opnsense,
    /// AWS Site-to-Site VPN, its command line.
    Aws,
    /// Azure VPN Gateway, its command line.
    Azure,
    /// Google Cloud Classic VPN, its command line.
    Gcp,
    /// Alibaba Cloud VPN Gateway, its command line.
    Alibaba,
}

impl Target {
    /// Every target.
    pub const ALL: [Self; 11] = [
        Self::Strongswan,
        Self::Libreswan,
        Self::Cisco,
        Self::Fortigate,
        Self::Mikrotik,
        Self::Vyos,
        Self::Opnsense,
        Self::Aws,
        Self::Azure,
        Self::Gcp,
        Self::Alibaba,
    ];

    /// The word of the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Strongswan => "strongswan",
            Self::Libreswan => "libreswan",
            Self::Cisco => "cisco",
            Self::Fortigate => "fortigate",
            Self::Mikrotik => "mikrotik",
            Self::Vyos => "vyos",
            Self::Opnsense => "opnsense",
            Self::Aws => "aws",
            Self::Azure => "azure",
            Self::Gcp => "gcp",
            Self::Alibaba => "alibaba",
        }
    }

    /// The product's name in sentences.
    #[must_use]
    pub const fn product(self) -> &'static str {
        match self {
            Self::Strongswan => "strongSwan",
            Self::Libreswan => "libreswan",
            Self::Cisco => "Cisco IOS XE",
            Self::Fortigate => "FortiGate",
            Self::Mikrotik => "MikroTik RouterOS",
            Self::Vyos => "VyOS",
            Self::Opnsense => "OPNsense",
            Self::Aws => "AWS Site-to-Site VPN",
            Self::Azure => "Azure VPN Gateway",
            Self::Gcp => "Google Cloud VPN",
            Self::Alibaba => "Alibaba Cloud VPN Gateway",
        }
    }

    /// What was done to make sure that what is written works.
    #[must_use]
    pub const fn proven(self) -> Proven {
        match self {
            Self::Strongswan => Proven::Run("strongSwan 5.9.8"),
            Self::Libreswan => Proven::Checked("libreswan 4.10"),
            Self::Cisco => Proven::Compared(vendor::cisco::DOCUMENTATION),
            Self::Fortigate => Proven::Compared(vendor::fortigate::DOCUMENTATION),
            Self::Mikrotik => Proven::Compared(vendor::mikrotik::DOCUMENTATION),
            Self::Vyos => Proven::Compared(vendor::vyos::DOCUMENTATION),
            Self::Opnsense => Proven::Compared(vendor::opnsense::DOCUMENTATION),
            Self::Aws => Proven::Compared(vendor::aws::DOCUMENTATION),
            Self::Azure => Proven::Compared(vendor::azure::DOCUMENTATION),
            Self::Gcp => Proven::Compared(vendor::gcp::DOCUMENTATION),
            Self::Alibaba => Proven::Compared(vendor::alibaba::DOCUMENTATION),
        }
    }

    /// Writes the configuration of the other end.
    ///
    /// # Errors
    /// What the product cannot do, and what to do about it.
    pub fn render(self, view: &View) -> Result<Vec<Document>, RenderError> {
        match self {
            Self::Strongswan => strongswan::render(view),
            Self::Libreswan => libreswan::render(view),
            Self::Cisco => vendor::cisco::render(view),
            Self::Fortigate => vendor::fortigate::render(view),
            Self::Mikrotik => vendor::mikrotik::render(view),
            Self::Vyos => vendor::vyos::render(view),
            Self::Opnsense => vendor::opnsense::render(view),
            Self::Aws => vendor::aws::render(view),
            Self::Azure => vendor::azure::render(view),
            Self::Gcp => vendor::gcp::render(view),
            Self::Alibaba => vendor::alibaba::render(view),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|target| target.word() == word).ok_or_else(|| {
            let words: Vec<_> = Self::ALL.iter().map(|target| target.word()).collect();
            format!("known are {}", words.join(", "))
        })
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
