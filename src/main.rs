//! The `skybridge` program: hands over to [`skybridge::cli`].
#![forbid(unsafe_code)]

fn main() {}
