//! A file of Kubernetes objects: YAML and JSON, decoding, and the choice of endpoints.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skybridge::cluster::objects::read_text;
use skybridge::cluster::select::{Ranges, Scope, choose, ranges};

fuzz_target!(|octets: &[u8]| {
    let (inventory, odd) = match read_text(octets) {
        Ok(read) => read,
        Err(refused) => {
            assert!(!refused.is_empty() && !refused.chars().any(char::is_control));
            return;
        }
    };
    assert!(odd.texts().len() <= odd.count() && !odd.to_string().chars().any(char::is_control));
    let scope = Scope { zone: Some("zone-a".to_owned()), ..Scope::default() };
    let (made, left_out) = choose(&inventory, &scope);
    assert!(made.frontends.is_sorted_by(|one, other| {
        (one.vip, one.protocol, one.port) < (other.vip, other.protocol, other.port)
    }));
    for one in &made.frontends {
        assert!(
            one.backends.is_sorted_by(|one, other| (one.address, one.port) < (other.address, other.port))
        );
        assert!(one.backends.iter().all(|to| to.address.is_ipv4() == one.vip.is_ipv4()));
        assert!(
            made.service_cidrs.iter().any(|range| range.contains(&one.vip))
                || !inventory.service_cidrs.is_empty()
        );
    }
    for one in left_out {
        assert!(!one.to_string().is_empty());
    }
    let told = ranges(&inventory, &Ranges::default());
    assert_eq!(told.services, made.service_cidrs);
});
