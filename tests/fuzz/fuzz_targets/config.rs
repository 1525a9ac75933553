//! Configuration text: parsing, the schema, meaning, and the rendering of what is wrong. Also proposals and traffic
//! selectors as they are written.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use skybridge::config::load_text;
use skybridge::policy::{Proposal, TrafficSelector};

fuzz_target!(|octets: &[u8]| {
    let Ok(text) = std::str::from_utf8(octets) else {
        return;
    };
    for line in text.lines() {
        if let Ok(proposal) = Proposal::parse_ike(line) {
            assert_eq!(Proposal::parse_ike(&proposal.to_string()).as_ref(), Ok(&proposal));
        }
        if let Ok(proposal) = Proposal::parse_esp(line) {
            assert_eq!(Proposal::parse_esp(&proposal.to_string()).as_ref(), Ok(&proposal));
        }
        if let Ok(selector) = TrafficSelector::parse(line) {
            assert_eq!(TrafficSelector::parse(&selector.to_string()), Ok(selector));
        }
    }
    match load_text("fuzz.toml", text, Path::new("/nonexistent"), 1_795_132_800) {
        Ok(config) => assert!(config.warnings.iter().all(|warning| !warning.to_string().is_empty())),
        Err(found) => {
            assert!(found.errors() > 0);
            assert!(!found.to_string().is_empty());
        }
    }
});
