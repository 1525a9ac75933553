//! Runs tests one after the other within network namespaces that belong to the process alone.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use skybridge::lab::{Entered, Entry, LabError, enter};

/// One test: its name, which is a fact, and what proves it.
pub(crate) type Test = (&'static str, fn(&Entered) -> Result<(), LabError>);

/// The `main` of a test program; `what` names the tests where they cannot run.
pub(crate) fn run(what: &str, tests: &[Test]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Listing needs no namespaces.
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(tests, None)).exit_code();
    }
    let inside: &'static Entered = match enter() {
        Ok(Entry::Inside(inside)) => Box::leak(Box::new(inside)),
        Ok(Entry::Outside(status)) => return status,
        Err(error) => {
            eprintln!("{what} cannot run: {error}");
            return ExitCode::FAILURE;
        }
    };
    // Each test builds a world with the same names, and wants both processors.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials(tests, Some(inside))).exit_code()
}

fn trials(tests: &[Test], inside: Option<&'static Entered>) -> Vec<Trial> {
    let trial = |(name, test): Test| {
        Trial::test(name, move || {
            let inside = inside.ok_or("not inside namespaces of our own")?;
            test(inside).map_err(|error| Failed::from(error.to_string()))
        })
    };
    tests.iter().copied().map(trial).collect()
}
