//! What inspection finds.

use crate::net::Test;

pub(crate) const TESTS: &[(&str, Test)] = &[];
