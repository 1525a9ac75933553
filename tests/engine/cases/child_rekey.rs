//! Rekeying of Child SAs: one-sided, crossing, with lost and delayed messages.

use std::time::Duration;

use skybridge::wire::ike::registry::ExchangeType;

use crate::net::{Action, Select};
use crate::pair::{A, B, Pair, Plan};

#[test]
fn a_pair_comes_up_and_carries_traffic() {
    let mut pair = Plan::new(1).up();
    let numbers = pair.run_with_traffic(Duration::from_secs(2), Duration::from_millis(50));
    pair.assert_none_lost(&numbers);
}
