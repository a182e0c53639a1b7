//! Python's `etcd3`, by the script beside.

use std::process::Command;

use conformance::{Cluster, python, skip};

#[test]
fn python_etcd3_works() {
    let Some(python) = python() else { return skip("python_etcd3_works", "Python's etcd3") };
    let cluster = Cluster::start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/etcd3_script.py");
    let output = Command::new(python)
        .arg(script)
        .args(cluster.endpoints())
        // The generated code of etcd3 0.12 needs the old way in some builds of protobuf.
        .env("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{errors}");
    assert_eq!(told.lines().filter(|line| line.starts_with("ok ")).count(), 6, "{told}");
}
