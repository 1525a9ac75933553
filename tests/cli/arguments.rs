//! Arguments, help, completions, and output that nobody reads.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};

use skybridge::lab::{Entered, LabError};

use crate::program::{command, skybridge, skybridge_in};
use crate::{Test, ensure};

pub(crate) const TESTS: &[Test] = &[
    ("arguments::help_and_version_are_answers", help),
    ("arguments::an_unknown_argument_is_refused_with_status_2", unknown),
    ("arguments::without_a_daemon_every_command_that_needs_one_says_so", no_daemon),
    ("arguments::the_control_socket_can_come_from_the_environment", control_from_environment),
    ("arguments::every_shell_takes_its_completions", completions),
    ("arguments::a_closed_pipe_is_no_failure", closed_pipe),
    ("arguments::a_full_disk_is_one", full_disk),
];

const COMMANDS: [&str; 14] = [
    "run",
    "check",
    "status",
    "services",
    "up",
    "down",
    "rekey",
    "reload",
    "cleanup",
    "genkey",
    "peer-config",
    "demo",
    "completions",
    "man",
];

fn help(_: &Entered) -> Result<(), LabError> {
    skybridge(&["--help"])?.answers(&COMMANDS)?;
    skybridge(&["--version"])?.answers(&["skybridge ", env!("CARGO_PKG_VERSION")])?;
    for command in COMMANDS {
        skybridge(&[command, "--help"])?.answers(&["Usage: skybridge", command])?;
    }
    skybridge(&[])?.refuses(&["Usage: skybridge <COMMAND>"])
}

fn unknown(_: &Entered) -> Result<(), LabError> {
    skybridge(&["frobnicate"])?.refuses(&["unrecognized subcommand 'frobnicate'", "--help"])?;
    skybridge(&["stauts"])?.refuses(&["'stauts'", "'status'"])?;
    for command in COMMANDS {
        skybridge(&[command, "--frobnicate"])?.refuses(&["'--frobnicate'"])?;
    }
    skybridge(&["up"])?.refuses(&["<PEER>"])?;
    skybridge(&["down"])?.refuses(&["<PEER>"])?;
    skybridge(&["rekey"])?.refuses(&["<PEER>"])?;
    skybridge(&["up", "cloud", "--timeout", "soon"])?.refuses(&["'soon'", "--timeout"])?;
    skybridge(&["rekey", "cloud", "lan", "--ike"])?.refuses(&["cannot be used with '--ike'"])?;
    skybridge(&["completions", "tcsh"])?.refuses(&["'tcsh'", "bash", "fish", "zsh"])
}

fn no_daemon(_: &Entered) -> Result<(), LabError> {
    let folder = tempfile::tempdir().unwrap();
    for command in [
        &["status"][..],
        &["status", "--json"],
        &["status", "cloud"],
        &["up", "cloud"],
        &["down", "cloud"],
        &["rekey", "cloud"],
        &["reload"],
    ] {
        let arguments = [command, &["--control", "none.sock"]].concat();
        skybridge_in(folder.path(), &arguments)?.fails(&[
            "no daemon answers on none.sock",
            "skybridge run",
            "systemctl status skybridge",
            "--control",
        ])?;
    }
    Ok(())
}

fn control_from_environment(_: &Entered) -> Result<(), LabError> {
    let mut status = command(&["status"]);
    status.env("SKYBRIDGE_CONTROL", "/nonexistent/here.sock");
    crate::program::finish(status)?.fails(&["/nonexistent/here.sock"])
}

fn completions(_: &Entered) -> Result<(), LabError> {
    for (shell, part) in
        [("bash", "complete -F _skybridge"), ("zsh", "#compdef skybridge"), ("fish", "complete -c skybridge")]
    {
        let said = skybridge(&["completions", shell])?;
        said.answers(&[part])?;
        said.answers(&COMMANDS)?;
    }
    // The one shell that is everywhere reads its own.
    let script = skybridge(&["completions", "bash"])?.stdout;
    let words =
        "COMP_WORDS=(skybridge sta) COMP_CWORD=1; _skybridge skybridge sta skybridge; echo ${COMPREPLY[@]}";
    let bash = Command::new("bash").args(["-c", &format!("{script}\n{words}")]).output();
    let bash = bash.map_err(LabError::io("run bash"))?;
    let (out, errors) = (String::from_utf8_lossy(&bash.stdout), String::from_utf8_lossy(&bash.stderr));
    ensure(bash.status.success() && out.trim() == "status", format!("{out}\n{errors}"))
}

/// Commands with much to say, which a reader such as `head` does not read to the end.
const TALKATIVE: [&[&str]; 4] =
    [&["completions", "bash"], &["completions", "fish"], &["check", "--schema"], &["--help"]];

fn closed_pipe(_: &Entered) -> Result<(), LabError> {
    for arguments in TALKATIVE {
        let mut child = command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(LabError::io("start the executable"))?;
        drop(child.stdout.take());
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).map_err(LabError::io("read"))?;
        let status = child.wait().map_err(LabError::io("wait"))?;
        ensure(status.success() && errors.is_empty(), format!("{arguments:?}: {status}\n{errors}"))?;
    }
    Ok(())
}

fn full_disk(_: &Entered) -> Result<(), LabError> {
    for arguments in [TALKATIVE[0], TALKATIVE[2]] {
        let full = File::options().write(true).open("/dev/full").map_err(LabError::io("open /dev/full"))?;
        let output = command(arguments).stdout(full).stderr(Stdio::piped()).output();
        let output = output.map_err(LabError::io("run the executable"))?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure(output.status.code() == Some(1), format!("{arguments:?}: {}", output.status))?;
        ensure(errors.starts_with("skybridge: cannot write the answer: No space left"), errors)?;
    }
    Ok(())
}
