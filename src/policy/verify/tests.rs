use super::*;
use crate::policy::{Pfs, Proposal, offer, select_esp, select_ike};

fn offered() -> Vec<ProposalBody> {
    let own: Vec<Proposal> = ["aes256gcm16-aes128gcm16-prfsha384-x25519-ecp256", "aes256-sha256-modp2048"]
        .iter()
        .map(|text| Proposal::parse_ike(text).unwrap())
        .collect();
    offer(&own, &[])
}

fn good() -> ProposalBody {
    let own = [Proposal::parse_ike("aes128gcm16-prfsha384-ecp256").unwrap()];
    select_ike(&own, &offered()).unwrap().answer(Vec::new())
}

#[test]
fn a_choice_within_the_offer_is_accepted() {
    assert_eq!(verify_ike(&offered(), &[good()]).unwrap().to_string(), "aes128gcm16-prfsha384-ecp256");
}

#[test]
fn none_or_two_proposals_are_no_choice() {
    assert_eq!(verify_ike(&offered(), &[]), Err(ChoiceError::NotOne(0)));
    assert_eq!(verify_ike(&offered(), &[good(), good()]), Err(ChoiceError::NotOne(2)));
}

#[test]
fn a_number_or_protocol_not_offered_is_refused() {
    for number in [0, 3, 255] {
        let answer = ProposalBody { number, ..good() };
        assert_eq!(verify_ike(&offered(), &[answer]), Err(ChoiceError::UnknownNumber(number)));
    }
    let answer = ProposalBody { protocol: crate::wire::ike::registry::ProtocolId::ESP, ..good() };
    assert!(verify_ike(&offered(), &[answer]).is_err());
}

#[test]
fn transforms_of_another_proposal_are_refused() {
    let answer = ProposalBody { number: 2, ..good() };
    let error = verify_ike(&offered(), &[answer]).unwrap_err();
    assert!(error.to_string().contains("aes128gcm16-prfsha384-ecp256"), "{error}");
}

#[test]
fn a_missing_surplus_or_altered_transform_is_refused() {
    for kind in [TransformType::ENCRYPTION, TransformType::PRF, TransformType::KEY_EXCHANGE] {
        let mut missing = good();
        missing.transforms.retain(|transform| transform.kind != kind);
        assert!(verify_ike(&offered(), &[missing]).is_err());
        let mut twice = good();
        let one = twice.transforms.iter().find(|t| t.kind == kind).unwrap().clone();
        twice.transforms.push(one);
        assert!(verify_ike(&offered(), &[twice]).is_err());
    }
    let mut both = good();
    both.transforms.push(Transform::new(TransformType::KEY_EXCHANGE, 31));
    assert!(verify_ike(&offered(), &[both]).is_err());
    let mut no_length = good();
    for transform in &mut no_length.transforms {
        transform.attributes.clear();
    }
    assert!(verify_ike(&offered(), &[no_length]).is_err());
    let mut extra = good();
    extra.transforms.push(Transform::new(TransformType::ADDITIONAL_KEY_EXCHANGE_1, 36));
    assert!(verify_ike(&offered(), &[extra]).is_err());
}

#[test]
fn none_may_be_said_where_nothing_was_offered() {
    let mut answer = good();
    answer.transforms.push(Transform::new(TransformType::INTEGRITY, 0));
    assert!(verify_ike(&offered(), &[answer]).is_ok());
}

#[test]
fn none_does_not_stand_for_an_algorithm_that_was_offered() {
    let own = [Proposal::parse_esp("aes256-sha256-x25519").unwrap()];
    let offered = offer(&own, &[0, 0, 1, 0]);
    let good = select_esp(&own, &offered, Pfs::Optional).unwrap().answer(256);
    assert!(verify_esp(&offered, std::slice::from_ref(&good)).is_ok());
    for kind in [TransformType::INTEGRITY, TransformType::KEY_EXCHANGE] {
        let mut none = good.clone();
        none.transforms.retain(|transform| transform.kind != kind);
        assert!(verify_esp(&offered, std::slice::from_ref(&none)).is_err());
        none.transforms.push(Transform::new(kind, 0));
        assert!(verify_esp(&offered, &[none]).is_err());
    }
}
