use crypto_bigint::Integer;

use super::*;

const GROUPS: [Group; 3] = [Group::Modp2048, Group::Modp3072, Group::Modp4096];

fn generate(group: Group) -> Box<Modp> {
    let mut octet = 0;
    let fill = &mut |out: &mut [u8]| {
        for place in out {
            octet += 1;
            *place = octet;
        }
    };
    Box::new(Modp::generate(group, fill).unwrap())
}

fn octets(value: &BoxedUint) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

#[test]
fn each_prime_has_the_shape_of_rfc_3526_and_two_generates_half_the_group() {
    for group in GROUPS {
        let params = parameters(group);
        let prime = params.modulus().as_ref();
        let bytes = octets(prime);
        assert_eq!(bytes.len(), group.public_len());
        assert_eq!((&bytes[..8], &bytes[bytes.len() - 8..]), (&[0xff; 8][..], &[0xff; 8][..]));
        // 2 is a square modulo p = 7 mod 8, so its order divides q = (p-1)/2.
        let q = prime.wrapping_sub(BoxedUint::one_with_precision(prime.bits_precision())).shr(1);
        assert!(bool::from(q.is_odd()));
        let two = BoxedMontyForm::new(BoxedUint::from(2u8).resize(prime.bits_precision()), params);
        assert_eq!(two.pow(&q), BoxedMontyForm::one(params));
    }
}

#[test]
fn public_values_outside_1_to_p_minus_1_are_refused() {
    for group in GROUPS {
        let prime = parameters(group).modulus().as_ref().clone();
        let at =
            |offset: u8| octets(&prime.wrapping_sub(BoxedUint::from(offset).resize(prime.bits_precision())));
        let mut small = vec![0; group.public_len()];
        let mut refused = vec![small.clone(), at(0), at(1), vec![0xff; group.public_len()]];
        *small.last_mut().unwrap() = 1;
        refused.push(small.clone());
        for value in refused {
            let result = generate(group).agree(&value);
            let expected = CryptoError::PublicValue { group, reason: "not between 1 and p-1" };
            assert_eq!(result.err(), Some(expected), "{group}");
        }
        *small.last_mut().unwrap() = 2;
        assert_eq!(generate(group).agree(&small).unwrap().expose(), generate(group).public_value());
        assert!(generate(group).agree(&at(2)).is_ok());
    }
}

#[test]
fn results_are_padded_to_the_length_of_the_prime() {
    for group in GROUPS {
        let one_bit = &mut |out: &mut [u8]| {
            out.fill(0);
            *out.last_mut().unwrap() = 1;
        };
        let exchange = Modp::generate(group, one_bit).unwrap();
        let mut two = vec![0; group.public_len()];
        *two.last_mut().unwrap() = 2;
        assert_eq!(exchange.public_value(), two);
        assert_eq!(Box::new(exchange).agree(&two).unwrap().expose(), two);
    }
}
