use super::*;
use crate::policy::{offer, verify_esp, verify_ike};
use crate::wire::ike::Transform;
use crate::wire::ike::registry::TransformType;

fn ike(texts: &[&str]) -> Vec<Proposal> {
    texts.iter().map(|text| Proposal::parse_ike(text).unwrap()).collect()
}

fn esp(texts: &[&str]) -> Vec<Proposal> {
    texts.iter().map(|text| Proposal::parse_esp(text).unwrap()).collect()
}

const SPI: [u8; 4] = [1, 2, 3, 4];

fn chosen_ike(ours: &[&str], theirs: &[&str]) -> String {
    select_ike(&ike(ours), &offer(&ike(theirs), &[]))
        .map_or_else(|e| e.to_string(), |s| format!("{} {}", s.number, s.suite))
}

fn chosen_esp(ours: &[&str], theirs: &[&str], pfs: Pfs) -> String {
    select_esp(&esp(ours), &offer(&esp(theirs), &SPI), pfs)
        .map_or_else(|e| e.to_string(), |s| format!("{} {}", s.number, s.suite))
}

#[test]
fn our_order_decides_and_the_peers_number_is_echoed() {
    let ours = ["aes256gcm16-prfsha384-ecp384", "aes128gcm16-prfsha256-x25519-ecp256"];
    let theirs = ["aes128gcm16-prfsha256-ecp256-x25519", "aes256gcm16-prfsha384-ecp384"];
    assert_eq!(chosen_ike(&ours, &theirs), "2 aes256gcm16-prfsha384-ecp384");
    let peer = Selection { preference: Preference::Peer, ..Selection::default() };
    let selected = select_ike_with(&ike(&ours), &offer(&ike(&theirs), &[]), peer).unwrap();
    assert_eq!((selected.number, selected.suite.to_string().as_str()), (1, "aes128gcm16-prfsha256-ecp256"));
}

#[test]
fn the_group_that_was_sent_along_saves_a_round_trip() {
    let theirs = offer(&ike(&["aes256gcm16-prfsha384-ecp256-x25519"]), &[]);
    let ours = ike(&["aes256gcm16-prfsha384-x25519-ecp256"]);
    assert_eq!(select_ike(&ours, &theirs).unwrap().suite.group, Group::Curve25519);
    let sent = |group| Selection { sent_group: Some(group), ..Selection::default() };
    assert_eq!(select_ike_with(&ours, &theirs, sent(Group::Ecp256)).unwrap().suite.group, Group::Ecp256);
    assert_eq!(
        select_ike_with(&ours, &theirs, sent(Group::Modp2048)).unwrap().suite.group,
        Group::Curve25519
    );
}

#[test]
fn the_answer_is_what_its_initiator_verifies() {
    let offered = offer(&Proposal::default_ike(), &[]);
    for ours in [
        "aes128gcm16-prfsha512-modp4096",
        "aes256-sha384-prfsha256-ecp521",
        "chacha20poly1305-prfsha256-ecp384",
    ] {
        let selected = select_ike(&ike(&[ours]), &offered).unwrap();
        assert_eq!(verify_ike(&offered, &[selected.answer(Vec::new())]).unwrap(), selected.suite);
    }
    let offered = offer(&Proposal::default_esp(true), &SPI);
    for ours in ["aes128gcm16-modp4096", "aes256-sha384-ecp521-noesn", "chacha20poly1305"] {
        for pfs in [Pfs::Optional, Pfs::FirstChild] {
            let own = esp(&[ours]);
            let offered = if pfs == Pfs::FirstChild {
                offer(&Proposal::default_esp(false), &SPI)
            } else {
                offered.clone()
            };
            let selected = select_esp(&own, &offered, pfs).unwrap();
            let answer = selected.answer(0xc0de_0001);
            assert_eq!(answer.spi, [0xc0, 0xde, 0, 1]);
            assert_eq!(verify_esp(&offered, &[answer]).unwrap(), selected.suite);
        }
    }
}

#[test]
fn key_lengths_must_match() {
    let text = chosen_ike(&["aes256gcm16-prfsha384-x25519"], &["aes128gcm16-prfsha384-x25519"]);
    assert!(text.contains("nothing fits for: cipher"), "{text}");
    let mut offered = offer(&ike(&["aes256gcm16-prfsha384-x25519"]), &[]);
    offered[0].transforms[0].attributes.clear();
    assert!(select_ike(&ike(&["aes256gcm16-prfsha384-x25519"]), &offered).is_err());
}

#[test]
fn an_unknown_transform_type_voids_only_its_proposal() {
    let mut offered = offer(&ike(&["aes256gcm16-prfsha384-x25519", "aes256gcm16-prfsha384-ecp256"]), &[]);
    offered[0].transforms.push(Transform::new(TransformType::ADDITIONAL_KEY_EXCHANGE_1, 36));
    let selected = select_ike(&ike(&["aes256gcm16-prfsha384-x25519-ecp256"]), &offered).unwrap();
    assert_eq!((selected.number, selected.suite.group), (2, Group::Ecp256));
}

#[test]
fn unknown_algorithms_of_known_types_are_passed_over() {
    let mut offered = offer(&ike(&["aes256gcm16-prfsha384-x25519"]), &[]);
    offered[0].transforms.insert(0, Transform::new(TransformType::KEY_EXCHANGE, 2));
    offered[0].transforms.insert(0, Transform::new(TransformType::ENCRYPTION, 4242));
    assert!(select_ike(&ike(&["aes256gcm16-prfsha384-x25519"]), &offered).is_ok());
}

#[test]
fn a_proposal_of_another_protocol_is_no_offer() {
    let offered = offer(&esp(&["aes256gcm16"]), &SPI);
    assert!(select_ike(&ike(&["aes256gcm16-prfsha384-x25519"]), &offered).is_err());
    let no_spi = offer(&esp(&["aes256gcm16"]), &[]);
    assert!(select_esp(&esp(&["aes256gcm16"]), &no_spi, Pfs::Optional).is_err());
}

#[test]
fn none_integrity_beside_an_aead_is_accepted_and_a_real_one_is_not() {
    let mut offered = offer(&esp(&["aes256gcm16"]), &SPI);
    offered[0].transforms.push(Transform::new(TransformType::INTEGRITY, 0));
    assert!(select_esp(&esp(&["aes256gcm16"]), &offered, Pfs::FirstChild).is_ok());
    offered[0].transforms.pop();
    offered[0].transforms.push(Transform::new(TransformType::INTEGRITY, 12));
    assert!(select_esp(&esp(&["aes256gcm16"]), &offered, Pfs::FirstChild).is_err());
}

#[test]
fn pfs_is_optional_on_receive() {
    assert_eq!(chosen_esp(&["aes256gcm16-x25519"], &["aes256gcm16"], Pfs::Optional), "1 aes256gcm16-esn");
    assert_eq!(
        chosen_esp(&["aes256gcm16-x25519"], &["aes256gcm16-x25519"], Pfs::Optional),
        "1 aes256gcm16-x25519-esn"
    );
    assert_eq!(
        chosen_esp(&["aes256gcm16"], &["aes256gcm16-ecp256"], Pfs::Optional),
        "1 aes256gcm16-ecp256-esn"
    );
    assert!(
        chosen_esp(&["aes256gcm16-x25519"], &["aes256gcm16-ecp256"], Pfs::Optional)
            .contains("key exchange group")
    );
    assert!(chosen_esp(&["aes256gcm16-x25519"], &["aes256gcm16"], Pfs::Required).contains("no ESP proposal"));
    assert_eq!(
        chosen_esp(&["aes256gcm16-x25519"], &["aes256gcm16-ecp256"], Pfs::FirstChild),
        "1 aes256gcm16-esn"
    );
}

#[test]
fn none_beside_groups_makes_pfs_optional_for_the_peer_too() {
    let mut offered = offer(&esp(&["aes256gcm16-ecp256"]), &SPI);
    offered[0].transforms.push(Transform::new(TransformType::KEY_EXCHANGE, 0));
    assert_eq!(select_esp(&esp(&["aes256gcm16-x25519"]), &offered, Pfs::Optional).unwrap().suite.group, None);
}

#[test]
fn a_peer_without_the_sequence_number_transform_means_32_bits() {
    let mut offered = offer(&esp(&["aes256gcm16"]), &SPI);
    offered[0].transforms.retain(|transform| transform.kind != TransformType::SEQUENCE_NUMBERS);
    let selected = select_esp(&esp(&["aes256gcm16"]), &offered, Pfs::FirstChild).unwrap();
    assert!(!selected.suite.esn);
    assert_eq!(verify_esp(&offered, &[selected.answer(300)]).unwrap(), selected.suite);
    assert!(select_esp(&esp(&["aes256gcm16-esn"]), &offered, Pfs::FirstChild).is_err());
}

#[test]
fn unknown_sequence_number_kinds_are_tolerated() {
    let mut offered = offer(&esp(&["aes256gcm16-noesn"]), &SPI);
    offered[0].transforms.push(Transform::new(TransformType::SEQUENCE_NUMBERS, 2));
    assert!(!select_esp(&esp(&["aes256gcm16"]), &offered, Pfs::FirstChild).unwrap().suite.esn);
}

#[test]
fn ike_auth_offers_each_child_proposal_once_and_without_groups() {
    let own = esp(&["aes256gcm16-x25519", "aes256gcm16-ecp256", "aes128gcm16"]);
    let stripped: Vec<Proposal> = own.iter().map(Proposal::without_groups).collect();
    let bodies = offer(&stripped, &SPI);
    assert_eq!(bodies.iter().map(|body| body.number).collect::<Vec<_>>(), [1, 2]);
    assert!(bodies.iter().all(|body| body.transforms.iter().all(|t| t.kind != TransformType::KEY_EXCHANGE)));
}

#[test]
fn no_proposal_shows_both_sides_in_two_columns() {
    let ours = ike(&["aes256gcm16-prfsha384-x25519", "aes256-sha256-modp2048"]);
    let mut theirs = offer(&ike(&["aes256-sha256-modp2048"]), &[]);
    theirs[0].transforms = vec![
        Transform::new(TransformType::ENCRYPTION, 3),
        Transform::new(TransformType::INTEGRITY, 2),
        Transform::new(TransformType::PRF, 2),
        Transform::new(TransformType::KEY_EXCHANGE, 2),
    ];
    let error = select_ike(&ours, &theirs).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no IKE proposal in common (nothing fits for: cipher, integrity algorithm, PRF, key exchange group)\n  \
         ours                             | theirs\n  \
         aes256gcm16-prfsha384-x25519     | 3des-sha1-prfsha1-modp1024\n  \
         aes256-sha256-prfsha256-modp2048 |"
    );
}
