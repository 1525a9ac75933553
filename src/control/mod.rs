//! The daemon's API: HTTP/JSON on a Unix socket, and its client.
