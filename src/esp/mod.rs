//! Pure ESP: security associations, sequence numbers and replay, seal and open.
