use std::num::NonZeroUsize;
use std::time::Duration;

use super::*;
use crate::ike::config::{LocalAuth, RemoteAddress, RemoteAuth, StartPolicy};

#[test]
fn a_small_configuration_gets_the_defaults() {
    let config = Lab::new().good(PEER);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let endpoint = &config.endpoint;
    assert_eq!((endpoint.ike.ike_port, endpoint.ike.natt_port, endpoint.replay_window), (500, 4500, 4096));
    assert_eq!(endpoint.when_stopped, WhenStopped::Block);
    assert_eq!(endpoint.device, "skybridge0");
    assert!(endpoint.manage_sysctls && endpoint.logging.keylog.is_none() && !endpoint.ike.key_log);
    let usual =
        DataPlane { workers: None, offload: true, polling: Polling::Adaptive(Duration::from_micros(50)) };
    assert_eq!(endpoint.dataplane, usual);
    let peer = &config.peers[0];
    assert_eq!(peer.ike.remote, RemoteAddress::Addresses(vec!["203.0.113.7".parse().unwrap()]));
    assert_eq!(peer.ike.ike[0].to_string(), "aes256gcm16-prfsha384-x25519");
    assert_eq!(peer.routes[0].prefixes, ["192.168.10.0/24".parse().unwrap()]);
    assert_eq!((peer.mtu, peer.clamp_mss, peer.copy_dscp), (None, ClampMss::Auto, true));
    let LocalAuth::Psk(keys) = &peer.ike.local_auth else { panic!() };
    assert_eq!(keys[0].expose(), PSK.as_bytes());
}

#[test]
fn everything_can_be_said() {
    let lab = Lab::new();
    lab.write("hex.psk", "0x000102030405060708090a0b0c0d0e0f\n", 0o600);
    let config = lab.good(
        r#"
[endpoint]
name = "cloud"
listen = ["10.0.0.5", "fd00::5"]
ike_port = 1500
natt_port = 14500
device = "sky-0"
mtu = 1400
state_dir = "/var/lib/sky"
control_socket = "/run/sky.sock"
replay_window = 8192
when_stopped = "clear"
manage_sysctls = false
cookie_threshold = 10
half_open_timeout = "10s"
log = { level = "debug", format = "json" }

[peers.office]
remote = "office.example.net"
remote_ike_port = 1500
remote_natt_port = 14500
start_encapsulated = true
local_address = "10.0.0.5"
local_id = "cloud.example.com"
remote_id = "office.example.com"
auth = { psk_files = ["hex.psk", "old.psk"] }
ike = ["aes256-sha256-modp2048", "default"]
start = "connect"
dpd = { delay = "off" }
lifetimes = { ike = "8h", child = "30m", child_bytes = "1GiB", child_packets = 1000000, jitter = 20 }
retransmit = { base = "500ms", factor = 2.0, cap = "8s", tries = 4 }
retry = { base = "2s", cap = "30s" }
keepalive = "15s"
fragment_size = 1200
mtu = "auto"
probe_mtu = false
clamp_mss = 1300
copy_dscp = false
copy_ecn = false

[peers.office.children.lan]
local = ["172.16.0.0/16[tcp/443]", "fd00:1::/48"]
remote = ["192.168.10.0/24", "fd00:2::/48"]
routes = ["192.168.10.0/25", "fd00:2::/64"]
esp = ["aes128gcm16-ecp256-noesn"]
pfs = false
start = "trap"
lifetimes = { time = "10m", bytes = "100MiB", packets = 5000 }
"#,
    );
    let peer = &config.peers[0];
    assert_eq!(peer.ike.remote, RemoteAddress::Name("office.example.net".to_owned()));
    assert_eq!(peer.ike.timing.dpd_delay, None);
    assert_eq!(peer.ike.timing.retransmit_base, Duration::from_millis(500));
    assert_eq!(peer.ike.ike_lifetime.rekey, Duration::from_secs(8 * 3600));
    assert!(peer.ike.ike_lifetime.hard > peer.ike.ike_lifetime.rekey);
    assert_eq!(peer.ike.ike.len(), 3);
    assert_eq!(peer.clamp_mss, ClampMss::To(1300));
    let child = &peer.ike.children[0];
    assert_eq!(child.start, StartPolicy::Trap);
    assert_eq!(child.esp[0].to_string(), "aes128gcm16-noesn");
    assert_eq!(child.lifetime.rekey_bytes, Some(100 << 20));
    assert!(child.lifetime.hard_bytes > child.lifetime.rekey_bytes);
    assert!((child.lifetime.jitter - 0.2).abs() < 1e-9);
    assert_eq!(peer.routes[0].prefixes.len(), 2);
    let RemoteAuth::Psk(keys) = &peer.ike.remote_auth else { panic!() };
    assert_eq!(keys[0].expose(), (0u8..16).collect::<Vec<_>>());
    assert_eq!(keys.len(), 2);
}

#[test]
fn a_single_address_is_the_peers_identity_by_default() {
    let config = Lab::new().good(&PEER.replace("remote_id = \"office.example.com\"\n", ""));
    assert_eq!(config.peers[0].ike.remote_id.to_string(), "203.0.113.7");
}

#[test]
fn two_children_with_parts_of_their_own_do_not_overlap() {
    let more = "[peers.office.children.two]\nlocal = [\"172.17.0.0/16\"]\nremote = [\"192.168.10.0/24\"]\n\
        [peers.office.children.web]\nlocal = [\"10.0.0.0/8[tcp/443]\"]\nremote = [\"192.168.11.0/24\"]\n\
        [peers.office.children.voice]\nlocal = [\"10.0.0.0/8[udp]\"]\nremote = [\"192.168.11.0/24\"]\n";
    assert_eq!(Lab::new().good(&format!("{PEER}{more}")).peers[0].ike.children.len(), 4);
}

#[test]
fn a_default_route_may_include_the_peer_itself() {
    let text = PEER.replace("[\"192.168.10.0/24\"]", "[\"0.0.0.0/0\"]\nroutes = [\"0.0.0.0/0\"]");
    assert_eq!(Lab::new().good(&text).peers[0].routes[0].prefixes, ["0.0.0.0/0".parse().unwrap()]);
}

#[test]
fn systemd_credentials_are_found_by_name() {
    let lab = Lab::new();
    lab.write("creds/office", "from systemd, long enough to do", 0o600);
    lab.write("skybridge.toml", PEER.replace("./office.psk", "credential:office"), 0o644);
    let directory = lab.base().join("creds");
    let config = lab.load_files(&[("CREDENTIALS_DIRECTORY", directory.to_str().unwrap())]).unwrap();
    let LocalAuth::Psk(keys) = &config.peers[0].ike.local_auth else { panic!() };
    assert_eq!(keys[0].expose(), b"from systemd, long enough to do");
    let missing = lab.load_files(&[]).unwrap_err();
    assert!(missing.to_string().contains("CREDENTIALS_DIRECTORY is not set"), "{missing}");
}

fn psk(config: &Config) -> &[u8] {
    match &config.peers[0].ike.local_auth {
        LocalAuth::Psk(keys) => keys[0].expose(),
        _ => panic!("no pre-shared key"),
    }
}

#[test]
fn the_packaged_folder_of_credentials_needs_no_prefix() {
    let lab = Lab::new();
    // As systemd lays them out: the unit's name for the folder in front, an access list that looks like a group's.
    lab.write("run/skybridge_office", "from the folder, long enough", 0o440);
    lab.write("run/office", "from another, long enough", 0o440);
    lab.write("skybridge.toml", PEER.replace("./office.psk", "credential:office"), 0o644);
    let run = lab.base().join("run");
    let environment = [("CREDENTIALS_DIRECTORY", run.to_str().unwrap())];
    assert_eq!(psk(&lab.load_files(&environment).unwrap()), b"from the folder, long enough");
    std::fs::remove_file(run.join("skybridge_office")).unwrap();
    assert_eq!(psk(&lab.load_files(&environment).unwrap()), b"from another, long enough");
    std::fs::remove_file(run.join("office")).unwrap();
    let missing = lab.load_files(&environment).unwrap_err().to_string();
    assert!(
        missing.contains("no credential of this name") && missing.contains("restart the service"),
        "{missing}"
    );
}

#[test]
fn outside_of_the_service_credentials_are_looked_for_where_systemd_would_take_them_from() {
    let lab = Lab::new();
    lab.write("credentials/office", "of root, long enough for all", 0o600);
    lab.write("skybridge.toml", PEER.replace("./office.psk", "credential:office"), 0o644);
    assert_eq!(psk(&lab.load_files(&[]).unwrap()), b"of root, long enough for all");
    lab.write("credentials/office", "of root, long enough for all", 0o644);
    assert!(lab.load_files(&[]).unwrap_err().to_string().contains("open-secret"));
}

#[test]
fn the_data_plane_does_as_it_is_told() {
    let with = |lines: &str| {
        Lab::new().good(&format!("[endpoint]\ndataplane = {{ {lines} }}\n{PEER}")).endpoint.dataplane
    };
    let told = with("workers = 3, offload = false, polling = \"off\"");
    assert_eq!(told, DataPlane { workers: NonZeroUsize::new(3), offload: false, polling: Polling::Off });
    assert_eq!(with("workers = \"auto\"").workers, None);
    let polling = |lines: &str| with(lines).polling;
    assert_eq!(polling("polling = \"low-latency\""), Polling::LowLatency(Duration::from_secs(1)));
    let exact = polling("polling = \"low-latency\", busy_poll = \"200us\"");
    assert_eq!(exact, Polling::LowLatency(Duration::from_micros(200)));
    assert_eq!(polling("busy_poll = \"1ms\""), Polling::Adaptive(Duration::from_millis(1)));
}
