//! The two regenerators, golden scripts and protobuf code, and the matrix of permissions.
//!
//! What they write is reviewed like any other change.

use std::path::Path;

/// Runs the golden script tests with `REWRITE=1`, which replaces the expected part of each script.
pub(crate) fn rewrite(root: &Path, arguments: &[&str]) -> Result<(), String> {
    let package = match arguments {
        [] => "raft",
        [package] => package,
        _ => return Err("usage: cargo xtask rewrite [crate]".to_owned()),
    };
    let mut command = crate::cargo();
    command.current_dir(root).env("REWRITE", "1").args(["test", "--package", package]);
    let status = command.status().map_err(|error| format!("cargo test could not run: {error}"))?;
    if !status.success() {
        return Err(format!(
            "rewrite: the tests of {package} failed for another reason, see above"
        ));
    }
    println!("rewrite: done; read `git diff` and commit only what you can explain");
    Ok(())
}

/// Generates the protobuf code of `crates/api` again, with the crate beside it that knows how.
pub(crate) fn codegen(root: &Path) -> Result<(), String> {
    let mut command = crate::cargo();
    command.current_dir(root).args(["run", "--quiet", "--package", "api-codegen"]);
    let status = command.status().map_err(|error| format!("cargo run could not run: {error}"))?;
    if status.success() { Ok(()) } else { Err("codegen: FAILED (see above)".to_owned()) }
}

/// Runs the matrix of permissions: see `crates/server/tests/auth_matrix`.
pub(crate) fn auth_matrix(root: &Path) -> Result<(), String> {
    let mut command = crate::cargo();
    command.current_dir(root).args(["test", "--package", "server", "--test", "auth_matrix"]);
    let status = command.status().map_err(|error| format!("cargo test could not run: {error}"))?;
    if status.success() { Ok(()) } else { Err("auth-matrix: FAILED (see above)".to_owned()) }
}
