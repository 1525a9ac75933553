//! The payloads inside of an SK payload: the first octet is the type of the first one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skybridge::wire::ike::registry::PayloadType;
use skybridge::wire::ike::{decode_chain, encode_chain, strip_padding};

fuzz_target!(|octets: &[u8]| {
    let _ = strip_padding(octets);
    let [first, chain @ ..] = octets else { return };
    let Ok(payloads) = decode_chain(PayloadType(*first), chain) else { return };
    let (first, again) = encode_chain(&payloads);
    assert_eq!(decode_chain(first, &again).as_ref(), Ok(&payloads));
});
