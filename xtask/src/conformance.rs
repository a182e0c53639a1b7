//! `cargo xtask conformance` and `compare`: build the binary and run the conformance crate with it.

use std::path::Path;

/// Runs the conformance tests; the flags become variables that the tests read.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<(), String> {
    let mut release = false;
    let mut filter = None;
    let mut command = crate::cargo();
    command.current_dir(root).args(["test", "--package", "conformance"]);
    for &argument in arguments {
        match argument {
            "--long" => {
                command.env("CONFORMANCE_LONG", "1");
            }
            "--etcd" => {
                command.env("CONFORMANCE_TARGET", "etcd");
            }
            "--release" => release = true,
            flag if flag.starts_with('-') => {
                return Err(format!("conformance has no flag {flag:?}; see cargo xtask help"));
            }
            name => filter = Some(name),
        }
    }
    install_clients(root)?;
    let table = root.join("target/conformance-clients/table");
    // It may not be there.
    let _removed = std::fs::remove_file(&table);
    command.env("CONFORMANCE_TABLE", &table);
    build_server(root, release)?;
    if protoc_is_there() {
        command.args(["--features", "etcd-client"]);
    } else {
        let missing = "the tests of the Rust crate etcd-client: protoc is missing";
        if std::env::var_os("CI").is_some() {
            return Err(format!("conformance: in CI nothing may be skipped, and {missing}"));
        }
        println!("SKIPPED {missing} (Debian: protobuf-compiler and libprotobuf-dev)");
    }
    if release {
        command.arg("--release");
    }
    // The clusters of two tests would share two cores and wait for each other: one test at a time.
    command.args(["--", "--test-threads", "1", "--nocapture"]).args(filter);
    let status = command.status().map_err(|error| format!("cargo test could not run: {error}"))?;
    print!("{}", crate::client_table::render(&std::fs::read_to_string(table).unwrap_or_default()));
    if status.success() { Ok(()) } else { Err("conformance: FAILED (see above)".to_owned()) }
}

/// Installs the foreign clients, as far as their toolchains are there. Away from CI a client that
/// cannot be installed is one that is not tested, which its test says.
fn install_clients(root: &Path) -> Result<(), String> {
    let script = root.join("conformance/clients/install.sh");
    let status = std::process::Command::new(&script).status();
    let status = status.map_err(|error| format!("{}: {error}", script.display()))?;
    if status.success() || std::env::var_os("CI").is_none() {
        return Ok(());
    }
    Err("conformance: a foreign client could not be installed (see above)".to_owned())
}

/// Builds for release and measures beside etcd; the flags are those of the program that measures.
pub(crate) fn compare(root: &Path, arguments: &[&str]) -> Result<(), String> {
    build_server(root, true)?;
    let mut command = crate::cargo();
    command
        .current_dir(root)
        .args(["run", "--quiet", "--release", "--package", "conformance", "--example", "compare"])
        .arg("--")
        .args(arguments);
    let status = command.status().map_err(|error| format!("cargo run could not run: {error}"))?;
    if status.success() { Ok(()) } else { Err("compare: FAILED (see above)".to_owned()) }
}

/// Sends random requests to both servers and compares.
pub(crate) fn differential(root: &Path, arguments: &[&str]) -> Result<(), String> {
    let mut command = crate::cargo();
    command.current_dir(root).args(["test", "--package", "conformance", "--test", "differential"]);
    let mut rest = arguments.iter();
    let mut release = false;
    while let Some(&flag) = rest.next() {
        let variable = match flag {
            "--release" => {
                release = true;
                continue;
            }
            "--requests" => "DIFFERENTIAL_REQUESTS",
            "--seed" => "DIFFERENTIAL_SEED",
            "--pairs" => "DIFFERENTIAL_PAIRS",
            _ => return Err(format!("differential has no flag {flag:?}; see cargo xtask help")),
        };
        let value = rest.next().filter(|value| value.parse::<u64>().is_ok());
        command.env(variable, value.ok_or_else(|| format!("{flag} needs a number"))?);
    }
    build_server(root, release)?;
    if release {
        command.arg("--release");
    }
    let status = command.args(["--", "--nocapture"]).status();
    let status = status.map_err(|error| format!("cargo test could not run: {error}"))?;
    if status.success() { Ok(()) } else { Err("differential: FAILED (see above)".to_owned()) }
}

/// The foreign client's build needs the program and the definitions that come with it.
fn protoc_is_there() -> bool {
    let found = std::process::Command::new("protoc").arg("--version").output();
    let definitions = Path::new("/usr/include/google/protobuf/descriptor.proto");
    found.is_ok_and(|output| output.status.success()) && definitions.exists()
}

fn build_server(root: &Path, release: bool) -> Result<(), String> {
    let mut command = crate::cargo();
    command.current_dir(root).args(["build", "--quiet", "--package", "flotilla"]);
    if release {
        command.arg("--release");
    }
    let status = command.status().map_err(|error| format!("cargo build could not run: {error}"))?;
    if status.success() { Ok(()) } else { Err("conformance: the server does not build".to_owned()) }
}
