//! None of this needs root: the same tests in an unprivileged user namespace.

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::Command,
};

use skybridge::lab::{Entered, LabError, forget_stage};

use crate::{inside::Test, world::ensure};

const NAME: &str = "all_of_this_holds_for_a_user_without_any_privilege";
pub(crate) const TESTS: &[Test] = &[(NAME, without_privilege)];

/// The user that owns nothing.
const NOBODY: u32 = 65_534;

fn without_privilege(inside: &Entered) -> Result<(), LabError> {
    if inside.in_user_namespace() {
        return Ok(());
    }
    let folder = tempfile::tempdir().map_err(LabError::io("make a folder"))?;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755))
        .map_err(LabError::io("open the folder"))?;
    // Where the executable is, nobody may not look.
    let copy = folder.path().join("table");
    let own = std::env::current_exe().map_err(LabError::io("find this executable"))?;
    fs::copy(own, &copy).map_err(LabError::io("copy this executable"))?;
    let mut command = Command::new(&copy);
    forget_stage(&mut command);
    let output = command.args(["--skip", NAME]).current_dir("/").uid(NOBODY).gid(NOBODY).output();
    let output = output.map_err(LabError::io("start the tests as nobody"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    ensure(output.status.success() && said.contains("0 failed"), format!("{said}{complained}"))
}
