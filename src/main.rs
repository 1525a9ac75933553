//! The `skybridge` program: hands over to [`skybridge::cli`].
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    skybridge::cli::main()
}
