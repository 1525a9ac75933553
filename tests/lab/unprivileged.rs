//! The lab needs no root: the same tests in an unprivileged user namespace.

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Command,
};

use skybridge::lab::{Entered, LabError, forget_stage};

use crate::pair::{PROGRAM, program};
use crate::{Test, ensure};

pub(crate) const TESTS: &[Test] =
    &[("unprivileged::a_user_without_any_privilege_gets_the_same_tunnel", without_privilege)];

/// The user that owns nothing.
const NOBODY: u32 = 65_534;

const AS_NOBODY: [&str; 3] = [
    "network::the_tunnel_comes_up_through_both_nats",
    "system::cleanup_leaves_nothing_behind",
    "underlay::plain_routes_carry_traffic_and_leave_nothing_behind",
];

fn without_privilege(inside: &Entered) -> Result<(), LabError> {
    if inside.in_user_namespace() {
        // Then every other test of this run has shown it.
        return Ok(());
    }
    let folder = tempfile::tempdir().map_err(LabError::io("make a folder"))?;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755))
        .map_err(LabError::io("open the folder"))?;
    // Where the executables are, nobody may not look.
    let copy = |from: &Path, name: &str| {
        let to = folder.path().join(name);
        fs::copy(from, &to).map_err(LabError::io(format!("copy {name}")))?;
        Ok::<_, LabError>(to)
    };
    let tests = copy(&std::env::current_exe().map_err(LabError::io("find this executable"))?, "lab")?;
    let program = copy(&program(), "skybridge")?;
    for name in AS_NOBODY {
        let mut command = Command::new(&tests);
        forget_stage(&mut command);
        command.args(["--exact", name]).env(PROGRAM, &program).current_dir("/").uid(NOBODY).gid(NOBODY);
        let output = command.output().map_err(LabError::io("start the tests as nobody"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        ensure(output.status.success() && said.contains("1 passed"), format!("{name}:\n{said}{complained}"))?;
    }
    Ok(())
}
