//! VyOS 1.4: `set` commands for its configuration mode.
//!
//! VyOS runs strongSwan, so a child may have several networks. Selectors for every address go through a virtual tunnel
//! interface, others are tunnels of the peer.

use ipnet::IpNet;

use super::ends::{Auth, KeyRule, auth, id, is_plain, key, seconds, usual_ports};
use super::names::{CBC128, CBC192, CBC256, GCM128, GCM192, GCM256, Named, Names, SHA256, SHA384, SHA512};
use super::networks::{EVERY_ADDRESS, is_any, only_child, prefixes};
use crate::crypto::{Cipher, Group, Prf};
use crate::peer_config::{Address, Child, Document, Draft, RenderError, Start, Target, View, plain};

const TARGET: Target = Target::Vyos;

pub(in crate::peer_config) const DOCUMENTATION: &str =
    "the VyOS 1.4 documentation (VPN, IPsec site-to-site) and its published command definitions";

const PRFS: Named<Prf> =
    &[(Prf::HmacSha256, "prfsha256"), (Prf::HmacSha384, "prfsha384"), (Prf::HmacSha512, "prfsha512")];

const CIPHERS: Named<Cipher> = &[
    (GCM256, "aes256gcm128"),
    (GCM192, "aes192gcm128"),
    (GCM128, "aes128gcm128"),
    (Cipher::ChaCha20Poly1305, "chacha20poly1305"),
    (CBC256, "aes256"),
    (CBC192, "aes192"),
    (CBC128, "aes128"),
    (Cipher::AesGcm { key_bits: 256, icv_len: 12 }, "aes256gcm96"),
    (Cipher::AesGcm { key_bits: 192, icv_len: 12 }, "aes192gcm96"),
    (Cipher::AesGcm { key_bits: 128, icv_len: 12 }, "aes128gcm96"),
    (Cipher::AesGcm { key_bits: 256, icv_len: 8 }, "aes256gcm64"),
    (Cipher::AesGcm { key_bits: 192, icv_len: 8 }, "aes192gcm64"),
    (Cipher::AesGcm { key_bits: 128, icv_len: 8 }, "aes128gcm64"),
];

static NAMES: Names = Names {
    target: TARGET,
    ike_ciphers: CIPHERS,
    ike_integrity: &[(SHA256, "sha256"), (SHA384, "sha384"), (SHA512, "sha512")],
    prfs: PRFS,
    groups: &[
        (Group::Curve25519, "31"),
        (Group::Ecp256, "19"),
        (Group::Ecp384, "20"),
        (Group::Ecp521, "21"),
        (Group::Modp2048, "14"),
        (Group::Modp3072, "15"),
        (Group::Modp4096, "16"),
    ],
    prf_follows: false,
    esp_ciphers: CIPHERS,
    esp_integrity: &[(SHA256, "sha256"), (SHA384, "sha384"), (SHA512, "sha512")],
    pfs: &[
        (Group::Curve25519, "dh-group31"),
        (Group::Ecp256, "dh-group19"),
        (Group::Ecp384, "dh-group20"),
        (Group::Ecp521, "dh-group21"),
        (Group::Modp2048, "dh-group14"),
        (Group::Modp3072, "dh-group15"),
        (Group::Modp4096, "dh-group16"),
    ],
    without_pfs: true,
    such_as: ("aes256gcm16-prfsha384-ecp384", "aes256gcm16-ecp384"),
};

/// The command line strips one pair of quotes and knows no escapes within.
const KEY: KeyRule =
    KeyRule { letters: is_plain, length: 1..=512, leading_zero: false, says: "letters, digits and ._-:@/+=" };

const OUTSIDE: &str = "eth0";
const VTI: &str = "vti100";
const CERTIFICATE: &str = "THIS-ROUTER";
const CA: &str = "SKYBRIDGE-CA";

pub(in crate::peer_config) fn render(view: &View) -> Result<Vec<Document>, RenderError> {
    usual_ports(TARGET, view)?;
    let auth = auth(TARGET, view, true)?;
    let mut draft = Draft::new(TARGET, "#");
    ike(view, &mut draft)?;
    for child in &view.children {
        esp(view, child, &mut draft)?;
    }
    peer(view, auth, &mut draft)?;
    let any =
        view.children.iter().any(|child| child.remote.has_every_address() && child.local.has_every_address());
    match any {
        true => interface(view, only_child(TARGET, view, EVERY_ADDRESS)?, &mut draft)?,
        false => tunnels(view, &mut draft)?,
    }
    draft.note(format!(
        "Replace {OUTSIDE} by the interface towards the Internet. Then: commit, save. Let UDP 500 and 4500 in, and keep \
         source NAT off the tunnel's networks by a rule with `exclude`."
    ));
    let secret = matches!(auth, Auth::Psk(Some(_)));
    let file = format!("{}.vyos", view.connection);
    Ok(vec![draft.finish(view, &file, "configuration mode (configure)", secret)])
}

/// One command; `value` is quoted as VyOS prints it.
fn set(draft: &mut Draft, path: &str, value: &str) {
    draft.line(format!("set {path} '{value}'"));
}

fn ike(view: &View, draft: &mut Draft) -> Result<(), RenderError> {
    let words = NAMES.ike(view)?;
    let group = format!("vpn ipsec ike-group {}", view.connection);
    let again = view.children.iter().any(|child| child.start == Start::Connect);
    set(draft, &format!("{group} key-exchange"), "ikev2");
    set(draft, &format!("{group} lifetime"), &seconds(view.ike_lifetime, 30..=86_400).to_string());
    if let Some(delay) = view.dpd {
        set(draft, &format!("{group} dead-peer-detection action"), if again { "restart" } else { "clear" });
        set(draft, &format!("{group} dead-peer-detection interval"), &seconds(delay, 2..=86_400).to_string());
    }
    set(draft, &format!("{group} close-action"), if again { "start" } else { "none" });
    draft.line(format!("set {group} disable-mobike"));
    set(draft, &format!("{group} proposal 1 encryption"), words.cipher);
    // Where the cipher authenticates, the hash counts for the PRF alone.
    let hash = words.integrity.or_else(|| words.prf.strip_prefix("prf")).unwrap_or("sha256");
    set(draft, &format!("{group} proposal 1 hash"), hash);
    set(draft, &format!("{group} proposal 1 prf"), words.prf);
    set(draft, &format!("{group} proposal 1 dh-group"), words.group);
    Ok(())
}

fn esp_group(view: &View, child: &Child) -> String {
    format!("{}-{}", view.connection, child.name)
}

fn esp(view: &View, child: &Child, draft: &mut Draft) -> Result<(), RenderError> {
    let words = NAMES.esp(view, child)?;
    let group = format!("vpn ipsec esp-group {}", esp_group(view, child));
    set(draft, &format!("{group} mode"), "tunnel");
    if let Some(time) = child.lifetime.rekey_time {
        set(draft, &format!("{group} lifetime"), &seconds(time, 30..=86_400).to_string());
    }
    set(draft, &format!("{group} pfs"), words.pfs.unwrap_or("disable"));
    set(draft, &format!("{group} proposal 1 encryption"), words.cipher);
    set(draft, &format!("{group} proposal 1 hash"), words.integrity.unwrap_or("sha256"));
    Ok(())
}

fn peer(view: &View, auth: Auth<'_>, draft: &mut Draft) -> Result<(), RenderError> {
    let name = &view.connection;
    let local = id(TARGET, "this end's identity", &view.local)?.text();
    let remote = id(TARGET, "our identity", &view.remote)?.text();
    let peer = format!("vpn ipsec site-to-site peer {name}");
    set(draft, "vpn ipsec interface", OUTSIDE);
    match auth {
        Auth::Psk(psk) => {
            let key = key(TARGET, psk, &KEY, draft)?;
            set(draft, &format!("vpn ipsec authentication psk {name} id"), &local);
            set(draft, &format!("vpn ipsec authentication psk {name} id"), &remote);
            set(draft, &format!("vpn ipsec authentication psk {name} secret"), &key);
            set(draft, &format!("{peer} authentication mode"), "pre-shared-secret");
        }
        Auth::Certificates => {
            set(draft, &format!("{peer} authentication mode"), "x509");
            set(draft, &format!("{peer} authentication x509 certificate"), CERTIFICATE);
            set(draft, &format!("{peer} authentication x509 ca-certificate"), CA);
            draft.note(format!(
                "Replace {CERTIFICATE} and {CA} by the names under `pki` of this router's certificate (with its key) \
                 and of the CA that issued the Skybridge endpoint's."
            ));
        }
    }
    set(draft, &format!("{peer} authentication local-id"), &local);
    set(draft, &format!("{peer} authentication remote-id"), &remote);
    let connects = view.children.iter().any(|child| child.start == Start::Connect);
    set(draft, &format!("{peer} connection-type"), if connects { "initiate" } else { "respond" });
    set(draft, &format!("{peer} ike-group"), name);
    draft.line(format!("set {peer} force-udp-encapsulation"));
    set(draft, &format!("{peer} local-address"), "any");
    let address = match &view.remote.address {
        Address::Known(address) => address.to_string(),
        Address::Name(name) => plain(TARGET, "our host name", name)?.to_owned(),
        Address::Any => "any".to_owned(),
    };
    set(draft, &format!("{peer} remote-address"), &address);
    Ok(())
}

fn tunnels(view: &View, draft: &mut Draft) -> Result<(), RenderError> {
    for (index, child) in view.children.iter().enumerate() {
        let tunnel = format!("vpn ipsec site-to-site peer {} tunnel {}", view.connection, index + 1);
        set(draft, &format!("{tunnel} esp-group"), &esp_group(view, child));
        for network in prefixes(TARGET, &child.name, &child.local)? {
            set(draft, &format!("{tunnel} local prefix"), &network.to_string());
        }
        for network in prefixes(TARGET, &child.name, &child.remote)? {
            set(draft, &format!("{tunnel} remote prefix"), &network.to_string());
        }
    }
    draft.note(format!(
        "Packets above {} octets do not fit the tunnel: clamp TCP's segments to {} in a firewall or on the inner \
         interface (ip adjust-mss).",
        view.inner_mtu, view.mss
    ));
    Ok(())
}

fn interface(view: &View, child: &Child, draft: &mut Draft) -> Result<(), RenderError> {
    let networks = prefixes(TARGET, &child.name, &child.remote)?;
    let vti = format!("interfaces vti {VTI}");
    set(draft, &format!("{vti} description"), &format!("skybridge-{}", view.connection));
    set(draft, &format!("{vti} mtu"), &view.inner_mtu.to_string());
    set(draft, &format!("{vti} ip adjust-mss"), &view.mss.to_string());
    draft.line("set vpn ipsec options disable-route-autoinstall");
    let peer = format!("vpn ipsec site-to-site peer {}", view.connection);
    set(draft, &format!("{peer} vti bind"), VTI);
    set(draft, &format!("{peer} vti esp-group"), &esp_group(view, child));
    for network in &networks {
        match network {
            IpNet::V4(network) => draft.line(format!("set protocols static route {network} interface {VTI}")),
            IpNet::V6(network) => {
                draft.line(format!("set protocols static route6 {network} interface {VTI}"))
            }
        }
    }
    if networks.iter().any(is_any) {
        draft.note(
            "The route sends everything into the tunnel: replace it by routes to the networks behind the Skybridge \
             endpoint.",
        );
    }
    Ok(())
}
