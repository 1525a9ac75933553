//! `skybridge man`: the manual pages, one a command and one for the configuration file, made of the same texts as
//! `--help` and the JSON Schema.

mod keys;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::Cli;
use super::output::{answer, counted, failed};
use crate::config;

/// Arguments of `skybridge man`.
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The folder to write the pages to
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

pub(super) fn man(args: &ManArgs) -> ExitCode {
    match write(&args.folder) {
        Ok(pages) => {
            answer(&format!("{} in {}", counted(pages, "manual page", "manual pages"), args.folder.display()))
        }
        Err(error) => failed(format!("cannot write manual pages to {}: {error}", args.folder.display())),
    }
}

/// Writes every page; gives their number.
fn write(folder: &Path) -> io::Result<usize> {
    std::fs::create_dir_all(folder)?;
    let mut pages = pages()?;
    pages.push(("skybridge.toml.5".to_owned(), keys::page(&config::json_schema())?));
    for (name, text) in &pages {
        std::fs::write(folder.join(name), text)?;
    }
    Ok(pages.len())
}

/// The pages of the commands, with their file names.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    add(&root, &mut pages)?;
    Ok(pages)
}

fn add(command: &clap::Command, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let top = !name.contains('-');
    let man = Man::new(command.clone())
        .manual("Skybridge")
        .source(format!("skybridge {}", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render(&mut page)?;
    if top {
        files_and_status(&mut page)?;
    }
    see_also(&name, &mut page)?;
    pages.push((format!("{name}.1"), page));
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        add(inner, pages)?;
    }
    Ok(())
}

fn files_and_status(page: &mut Vec<u8>) -> io::Result<()> {
    let mut roff = Roff::new();
    let mut entries = |title: &str, rows: &[(&str, &str)]| {
        roff.control("SH", [title]);
        for (term, text) in rows {
            roff.control("TP", []);
            roff.text([bold(*term)]);
            roff.text([roman(*text)]);
        }
    };
    entries(
        "FILES",
        &[
            (super::DEFAULT_CONFIG, "The configuration; conf.d/*.toml beside it is read after it."),
            (super::DEFAULT_CONTROL, "Where the daemon takes commands."),
            ("/var/lib/skybridge", "What the daemon must remember over a restart."),
        ],
    );
    entries(
        "EXIT STATUS",
        &[("0", "Done."), ("1", "It failed."), ("2", "The arguments or the configuration are wrong.")],
    );
    roff.to_writer(page)
}

fn see_also(name: &str, page: &mut Vec<u8>) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    let mut words = Vec::new();
    if name != "skybridge" {
        words.extend([bold("skybridge"), roman("(1), ")]);
    }
    words.extend([bold("skybridge.toml"), roman("(5), "), italic("/usr/share/doc/skybridge/")]);
    roff.text(words);
    roff.to_writer(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_that_names_it() {
        let pages = pages().unwrap();
        for command in Cli::command().get_subcommands() {
            let file = format!("skybridge-{}.1", command.get_name());
            let (_, page) = pages.iter().find(|(name, _)| *name == file).unwrap();
            let page = String::from_utf8_lossy(page);
            assert!(page.contains(".SH NAME") && page.contains(".SH \"SEE ALSO\""), "{page}");
        }
        assert!(pages.iter().any(|(name, _)| name == "skybridge-genkey-psk.1"));
        assert!(pages.iter().all(|(name, _)| !name.contains("help")));
    }
}
