//! What is going on: a moving line on a terminal, plain lines elsewhere.

use std::{
    io::{IsTerminal, stderr},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

/// Says on standard error what is being done.
#[derive(Debug)]
pub(super) struct Progress {
    spinner: Option<ProgressBar>,
    quiet: bool,
}

impl Progress {
    /// Chooses by what standard error is; `quiet` leaves the plain lines out.
    pub(super) fn new(quiet: bool) -> Self {
        let spinner = stderr().is_terminal().then(|| {
            let spinner = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                spinner.set_style(style);
            }
            spinner.enable_steady_tick(Duration::from_millis(120));
            spinner
        });
        Self { spinner, quiet }
    }

    /// Says what is being done now.
    pub(super) fn say(&self, what: &str) {
        match &self.spinner {
            Some(spinner) => spinner.set_message(what.to_owned()),
            None if self.quiet => {}
            None => eprintln!("{what}"),
        }
    }

    /// Says how a step ended.
    pub(super) fn note(&self, what: &str) {
        match &self.spinner {
            Some(spinner) => spinner.println(what),
            None if self.quiet => {}
            None => eprintln!("  {what}"),
        }
    }

    /// Takes the moving line away.
    pub(super) fn done(&self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}
