//! `cargo xtask model-check`: builds crate `model` and lets it explore.

use std::path::Path;

/// Passes everything on; `--bug` builds the model with that bug put back.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<(), String> {
    let mut command = crate::cargo();
    command.current_dir(root).args(["run", "--quiet", "--release", "--package", "model"]);
    let mut rest = Vec::new();
    let mut words = arguments.iter();
    while let Some(&word) = words.next() {
        if word != "--bug" {
            rest.push(word);
            continue;
        }
        let bug = words.next().ok_or("--bug takes a name: cargo xtask seeded-bugs --list")?;
        command.env("SEEDED_BUG", bug).env("RUSTFLAGS", "--cfg seeded_bugs");
        command.arg("--target-dir").arg(root.join("target/seeded-bugs"));
    }
    let status = command
        .arg("--")
        .args(rest)
        .status()
        .map_err(|error| format!("cargo run could not run: {error}"))?;
    if status.success() { Ok(()) } else { Err("model-check: FAILED (see above)".to_owned()) }
}
