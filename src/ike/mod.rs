//! Pure IKEv2, both roles: no sockets, clock, randomness or async.
