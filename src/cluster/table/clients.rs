//! Clients that stay with an endpoint (`sessionAffinity: ClientIP`): the kernel remembers them, and is told when their
//! endpoint has gone.

use std::{collections::BTreeSet, fmt::Write, net::IpAddr};

use serde_json::Value;

use super::{
    TableError,
    frame::TABLE,
    image::{Key, Target},
    nft::Nft,
};
use crate::cluster::model::Protocol;

/// The map that remembers them.
const MAP: &str = "clients4";

/// Makes the kernel forget who stays with these; whether there were any.
pub(super) async fn forget(nft: &Nft, gone: &BTreeSet<(Key, Target)>) -> Result<bool, TableError> {
    let listed = nft.run(&["-j", "list", "map", "inet", "skybridge", MAP], "").await?;
    let stale: Vec<Client> =
        parse(&listed).into_iter().filter(|client| gone.contains(&(client.key, client.target))).collect();
    for some in stale.chunks(1000) {
        // One that has just been forgotten by itself is added first, so that deleting it is no error.
        if nft.load(&some.iter().map(|client| client.text(true)).collect::<String>()).await.is_ok() {
            continue;
        }
        for client in some {
            match nft.load(&client.text(false)).await {
                Ok(()) | Err(TableError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(!stale.is_empty())
}

#[derive(Debug, PartialEq, Eq)]
struct Client {
    key: Key,
    client: IpAddr,
    target: Target,
}

impl Client {
    fn text(&self, add: bool) -> String {
        let ((vip, protocol, port), client, (address, target)) = (self.key, self.client, self.target);
        let key = format!("{vip} . {protocol} . {port} . {client}");
        let mut text = String::new();
        if add {
            let _ = writeln!(text, "add element {TABLE} {MAP} {{ {key} : {address} . {target} }}");
        }
        let _ = writeln!(text, "delete element {TABLE} {MAP} {{ {key} }}");
        text
    }
}

/// The map's elements; whatever cannot be understood is left out.
fn parse(listed: &str) -> Vec<Client> {
    let Ok(value) = serde_json::from_str::<Value>(listed) else { return Vec::new() };
    let elements = value
        .get("nftables")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|object| object.get("map")?.get("elem")?.as_array());
    elements.flatten().filter_map(client).collect()
}

fn client(element: &Value) -> Option<Client> {
    let [key, data] = element.as_array()?.as_slice() else { return None };
    let key = key.get("elem").and_then(|elem| elem.get("val")).unwrap_or(key).get("concat")?.as_array()?;
    let data = data.get("concat")?.as_array()?;
    let [vip, protocol, port, client] = key.as_slice() else { return None };
    let [address, target] = data.as_slice() else { return None };
    let ip = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
    let number = |value: &Value| u16::try_from(value.as_u64()?).ok();
    let protocol = match protocol {
        Value::String(name) => {
            [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|p| p.as_str() == name)?
        }
        number => [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
            .into_iter()
            .find(|p| number.as_u64() == Some(p.number().into()))?,
    };
    Some(Client {
        key: (ip(vip)?, protocol, number(port)?),
        client: ip(client)?,
        target: (ip(address)?, number(target)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_of_nft_is_understood_and_what_is_odd_is_left_out() {
        let listed = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"map": {"family": "inet", "name": "clients4",
            "elem": [
              [{"elem": {"val": {"concat": ["172.16.0.2", "tcp", 80, "10.0.0.1"]}, "timeout": 10800, "expires": 10799}},
               {"concat": ["10.0.0.2", 8080]}],
              [{"concat": ["172.16.0.2", "udp", 53, "10.0.0.3"]}, {"concat": ["10.0.0.2", 53]}],
              [{"concat": ["172.16.0.2", "udp", 99999, "10.0.0.3"]}, {"concat": ["10.0.0.2", 53]}],
              "odd"]}}]}"#;
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let target = |port| (ip("10.0.0.2"), port);
        assert_eq!(
            parse(listed),
            [
                Client {
                    key: (ip("172.16.0.2"), Protocol::Tcp, 80),
                    client: ip("10.0.0.1"),
                    target: target(8080)
                },
                Client {
                    key: (ip("172.16.0.2"), Protocol::Udp, 53),
                    client: ip("10.0.0.3"),
                    target: target(53)
                },
            ]
        );
        assert!(parse("no JSON").is_empty());
    }
}
