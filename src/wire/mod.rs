//! Octets to types and back: IKE messages, ESP, UDP encapsulation, inner packet headers. No keys, clock or logging.
