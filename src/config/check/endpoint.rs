//! `[endpoint]`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::Group;
use tracing_subscriber::EnvFilter;

use super::Context;
use crate::config::file::{
    DataPlaneFile, EndpointFile, LogFile, LogFormatFile, NumberOrWord, PollingFile, WhenStoppedFile,
};
use crate::config::source::At;
use crate::config::types::{DataPlane, Endpoint, LogFormat, Logging, Polling, WhenStopped};
use crate::ike::config::EndpointSettings;

/// More threads than that only get in each other's way.
const MAX_WORKERS: u32 = 64;
/// About what waking up another processor costs.
const BUSY_POLL: Duration = Duration::from_micros(50);
/// Longer than the pauses of what somebody waits for.
const LOW_LATENCY_POLL: Duration = Duration::from_secs(1);
const MAX_POLL: Duration = Duration::from_secs(3600);

/// What fits `sockaddr_un`, with its closing zero.
const LONGEST_SOCKET_PATH: usize = 107;

pub(super) fn check(file: EndpointFile, context: &mut Context<'_>) -> Endpoint {
    let EndpointFile {
        name,
        listen,
        ike_port,
        natt_port,
        device,
        mtu,
        user,
        state_dir,
        control_socket,
        control_group,
        replay_window,
        when_stopped,
        manage_sysctls,
        cookie_threshold,
        cookie_threshold_per_address,
        block_threshold,
        block_threshold_per_address,
        half_open_timeout,
        dataplane,
        log,
    } = file;
    let at = At::root().key("endpoint");
    if let Some(name) = &name
        && (name.is_empty() || name.len() > 64 || name.chars().any(char::is_control))
    {
        context.error(
            &at.key("name"),
            "bad-name",
            "the endpoint's name is empty, longer than 64 octets or not printable",
            None,
        );
    }
    match &user {
        None => context.vault.set_packaged_service(),
        Some(user) => {
            if !context.vault.set_service(user) && !context.vault.sealed {
                let hint = format!("run: useradd --system {}", user.escape_default());
                context.error(&at.key("user"), "unknown-user", "there is no such user", hint);
            }
        }
    }
    if let Some(group) = &control_group
        && !context.vault.sealed
        && !matches!(Group::from_name(group), Ok(Some(_)))
    {
        let hint = format!("run: groupadd --system {}", group.escape_default());
        context.error(&at.key("control_group"), "unknown-group", "there is no such group", hint);
    }
    let defaults = EndpointSettings::default();
    let ike_port = context.number(&at.key("ike_port"), ike_port, (1, u16::MAX), defaults.ike_port);
    let natt_port = context.number(&at.key("natt_port"), natt_port, (1, u16::MAX), defaults.natt_port);
    if ike_port == natt_port {
        let key =
            if context.layers.locate_key(&at.key("natt_port")).is_some() { "natt_port" } else { "ike_port" };
        let hint = "give them different ports, such as 500 and 4500".to_owned();
        context.error(&at.key(key), "port-clash", "`ike_port` and `natt_port` are the same", hint);
    }
    let replay_at = at.key("replay_window");
    let replay_window = context.number(&replay_at, replay_window, (64, 65_536), 4096);
    if !replay_window.is_power_of_two() {
        let hint = format!("write {}", replay_window.next_power_of_two());
        context.error(&replay_at, "out-of-range", "`endpoint.replay_window` must be a power of two", hint);
    }
    let mut threshold = |key: &str, written: Option<u32>, default: usize| {
        let default = u32::try_from(default).unwrap_or(u32::MAX);
        usize::try_from(context.number(&at.key(key), written, (0, 1_000_000), default)).unwrap_or(usize::MAX)
    };
    let (total, each) = (defaults.cookie_threshold, defaults.cookie_threshold_per_address);
    let cookie = threshold("cookie_threshold", cookie_threshold, total);
    let cookie_each = threshold("cookie_threshold_per_address", cookie_threshold_per_address, each);
    let block = threshold("block_threshold", block_threshold, defaults.block_threshold.max(cookie));
    let block_each = threshold(
        "block_threshold_per_address",
        block_threshold_per_address,
        defaults.block_threshold_per_address.max(cookie_each),
    );
    for (key, block, cookie) in
        [("block_threshold", block, cookie), ("block_threshold_per_address", block_each, cookie_each)]
    {
        if block < cookie.max(1) {
            let hint = format!("write at least {}", cookie.max(1));
            context.error(
                &at.key(key),
                "out-of-range",
                format!("`endpoint.{key}` blocks before a COOKIE is demanded"),
                hint,
            );
        }
    }
    let half_open_timeout = context.duration(
        &at.key("half_open_timeout"),
        half_open_timeout.as_deref(),
        Duration::from_secs(1),
        defaults.half_open_timeout,
    );
    let logging = check_log(log.unwrap_or_default(), &at.key("log"), context);
    Endpoint {
        name: name.unwrap_or_else(host_name),
        listen: check_listen(listen, &at.key("listen"), context),
        ike: EndpointSettings {
            ike_port,
            natt_port,
            cookie_threshold: cookie,
            cookie_threshold_per_address: cookie_each,
            block_threshold: block,
            block_threshold_per_address: block_each,
            half_open_timeout,
            key_log: logging.keylog.is_some(),
            ..defaults
        },
        device: check_device(device, &at.key("device"), context),
        mtu: mtu_of(mtu, &at.key("mtu"), context),
        user,
        state_dir: absolute(state_dir, "/var/lib/skybridge", &at.key("state_dir"), context),
        control_socket: check_socket(control_socket, &at.key("control_socket"), context),
        control_group,
        replay_window,
        when_stopped: match when_stopped {
            None | Some(WhenStoppedFile::Block) => WhenStopped::Block,
            Some(WhenStoppedFile::Clear) => WhenStopped::Clear,
        },
        manage_sysctls: manage_sysctls.unwrap_or(true),
        dataplane: check_dataplane(dataplane.unwrap_or_default(), &at.key("dataplane"), context),
        logging,
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "skybridge".to_owned())
}

fn check_listen(listen: Option<Vec<String>>, at: &At, context: &mut Context<'_>) -> Vec<IpAddr> {
    let Some(listen) = listen else {
        return vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    };
    if listen.is_empty() {
        context.error(
            at,
            "out-of-range",
            "`endpoint.listen` is empty",
            "leave it out to listen at every address".to_owned(),
        );
    }
    let mut addresses: Vec<IpAddr> = Vec::new();
    for (index, text) in listen.iter().enumerate() {
        match text.parse() {
            Ok(address) if addresses.contains(&address) => {
                context.error(
                    &at.index(index),
                    "port-clash",
                    format!("{address} is listed twice"),
                    "leave one out".to_owned(),
                );
            }
            Ok(address) => addresses.push(address),
            Err(_) => {
                let hint = "write an IPv4 or IPv6 address; ports are `ike_port` and `natt_port`".to_owned();
                context.error(
                    &at.index(index),
                    "bad-address",
                    format!("`{}` is not an address", text.escape_default()),
                    hint,
                );
            }
        }
    }
    for unspecified in [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)] {
        let same_family =
            |address: &&IpAddr| address.is_ipv4() == unspecified.is_ipv4() && **address != unspecified;
        if addresses.contains(&unspecified)
            && let Some(other) = addresses.iter().find(same_family)
        {
            let hint = "leave one out".to_owned();
            context.error(at, "port-clash", format!("{unspecified} includes {other} already"), hint);
        }
    }
    addresses
}

fn check_device(device: Option<String>, at: &At, context: &mut Context<'_>) -> String {
    let name = device.unwrap_or_else(|| "skybridge0".to_owned());
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !(1..=15).contains(&name.len()) || !plain || matches!(name.as_str(), "." | ".." | "lo") {
        let hint = "write at most 15 letters, digits, `-`, `_` or `.`".to_owned();
        context.error(at, "bad-name", "this cannot be a device's name", hint);
    }
    name
}

/// `auto`, or octets.
pub(super) fn mtu_of(mtu: Option<NumberOrWord>, at: &At, context: &mut Context<'_>) -> Option<u16> {
    match mtu? {
        NumberOrWord::Number(number) => {
            let checked = context.number(at, Some(number), (576, 9000), 1400);
            u16::try_from(checked).ok()
        }
        NumberOrWord::Word(word) if word == "auto" => None,
        NumberOrWord::Word(_) => {
            let hint = "write \"auto\" or a number from 576 to 9000 without quotes".to_owned();
            context.error(at, "unknown-word", format!("`{at}` does not know this word"), hint);
            None
        }
    }
}

fn absolute(path: Option<String>, default: &str, at: &At, context: &mut Context<'_>) -> PathBuf {
    let path = PathBuf::from(path.unwrap_or_else(|| default.to_owned()));
    if !path.is_absolute() {
        context.error(
            at,
            "bad-path",
            format!("`{at}` must be an absolute path"),
            format!("write it from the root, such as {default}"),
        );
    }
    path
}

fn check_socket(path: Option<String>, at: &At, context: &mut Context<'_>) -> PathBuf {
    let path = absolute(path, "/run/skybridge/control.sock", at, context);
    let octets = path.as_os_str().len();
    if octets > LONGEST_SOCKET_PATH {
        let message =
            format!("the path of a socket has at most {LONGEST_SOCKET_PATH} octets, this has {octets}");
        context.error(
            at,
            "bad-path",
            message,
            "use a shorter path, such as /run/skybridge/control.sock".to_owned(),
        );
    }
    path
}

fn check_dataplane(file: DataPlaneFile, at: &At, context: &mut Context<'_>) -> DataPlane {
    let DataPlaneFile { workers, offload, polling, busy_poll } = file;
    let workers_at = at.key("workers");
    let workers = match workers {
        None => None,
        Some(NumberOrWord::Word(word)) if word == "auto" => None,
        Some(NumberOrWord::Number(number)) => {
            let number = context.number(&workers_at, Some(number), (1, MAX_WORKERS), 1);
            usize::try_from(number).ok().and_then(NonZeroUsize::new)
        }
        Some(NumberOrWord::Word(_)) => {
            let hint = format!("write \"auto\" or a number from 1 to {MAX_WORKERS}");
            context.error(&workers_at, "unknown-word", "this is no number of workers", hint);
            None
        }
    };
    let low_latency = matches!(polling, Some(PollingFile::LowLatency));
    let default = if low_latency { LOW_LATENCY_POLL } else { BUSY_POLL };
    let poll_at = at.key("busy_poll");
    let mut time = context.duration(&poll_at, busy_poll.as_deref(), Duration::from_micros(1), default);
    if time > MAX_POLL {
        let hint = format!("write at most {MAX_POLL:?}");
        context.error(&poll_at, "out-of-range", format!("`{poll_at}` is too long"), hint);
        time = default;
    }
    let polling = match polling {
        None | Some(PollingFile::Adaptive) => Polling::Adaptive(time),
        Some(PollingFile::LowLatency) => Polling::LowLatency(time),
        Some(PollingFile::Off) => Polling::Off,
    };
    DataPlane { workers, offload: offload.unwrap_or(true), polling }
}

fn check_log(log: LogFile, at: &At, context: &mut Context<'_>) -> Logging {
    let LogFile { level, format, keylog } = log;
    let level = level.unwrap_or_else(|| "info".to_owned());
    if let Err(error) = level.parse::<EnvFilter>() {
        let hint = "write error, warn, info, debug, trace, or filters such as \"info,skybridge::ike=debug\""
            .to_owned();
        context.error(&at.key("level"), "unknown-word", format!("this is no log filter: {error}"), hint);
    }
    let keylog = keylog.map(|path| {
        let at = at.key("keylog");
        let path = absolute(Some(path), "/var/log/skybridge-keys", &at, context);
        let hint = "leave it out unless you are debugging, and delete the files afterwards".to_owned();
        context.warning(
            &at,
            "keylog-on",
            "keys are written to disk: whoever has them can read all traffic",
            hint,
        );
        path
    });
    let format = match format {
        None | Some(LogFormatFile::Text) => LogFormat::Text,
        Some(LogFormatFile::Json) => LogFormat::Json,
    };
    Logging { level, format, keylog }
}
