//! Pure algebra of proposals, traffic selectors and identities of flows.
