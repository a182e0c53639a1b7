//! Arrows point down. The one table of floors, and who may use which foreign crate.

use std::path::Path;

use serde_json::Value;

use super::Problem;
use super::source::Source;

/// Every crate of the product and its floor. A crate may use crates of lower floors only.
const FLOORS: &[(&str, u32)] = &[
    ("raft", 0),
    ("env", 0),
    ("seglog", 1),
    ("wal", 1),
    ("host", 2),
    ("store", 3),
    ("api", 3),
    ("server", 4),
    ("client", 4),
    ("flotilla", 5),
];

/// The workshop may use everything; no library of the product uses the workshop.
const WORKSHOP: &[&str] = &["sim", "model", "conformance", "xtask", "api-codegen"];

/// The one door from the product into the workshop: `flotilla sim` (docs/adr/0015).
const WORKSHOP_DOORS: &[(&str, &str)] = &[("flotilla", "sim")];

/// Arrows within one floor, each with its reason: the log of all groups is one segment log.
const SAME_FLOOR: &[(&str, &str)] = &[("wal", "seglog")];

/// Arrows that would point down and are still wrong.
const FORBIDDEN: &[(&str, &str, &str)] = &[
    ("store", "wal", "the store keeps its own segments and never sees the Raft log"),
    ("store", "api", "the store speaks its own types; server translates protobuf"),
];

/// Foreign crates that only some may use.
const RESERVED: &[(&str, &[&str])] = &[
    ("tokio", &["server", "client", "flotilla", "conformance"]),
    ("tokio-stream", &["server", "client", "conformance"]),
    ("tonic", &["api", "server", "client", "sim", "conformance"]),
    ("tonic-prost", &["api"]),
    ("prost", &["api", "server", "client", "conformance"]),
    ("rustix", &["env", "host", "flotilla"]),
    ("socket2", &["host", "server"]),
];

/// What the store may name of Raft: the ids in the signature of `StateMachine`, and nothing that
/// decides.
const STORE_MAY_NAME: &[&str] = &["EntryId", "LogIndex", "Term"];

/// The whole list of what the protocol core may depend on.
const RAFT_MAY_USE: &[&str] = &["bytes"];

/// A crate of the workspace and what it uses.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One arrow.
#[derive(Debug, Clone)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Only tests and benches use it.
    pub(crate) development: bool,
    pub(crate) default_features: bool,
}

/// Asks cargo for the crates of the workspace.
pub(crate) fn read_packages(root: &Path) -> Result<Vec<Package>, String> {
    let output = crate::cargo()
        .current_dir(root)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .map_err(|error| format!("tidy: cargo metadata could not run: {error}"))?;
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|error| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("tidy: cargo metadata gave no JSON ({error}): {said}")
    })?;
    Ok(array(&metadata["packages"]).map(package).collect())
}

fn package(value: &Value) -> Package {
    let dependencies = array(&value["dependencies"])
        .map(|dependency| Dependency {
            name: text(&dependency["name"]),
            development: dependency["kind"] == "dev",
            default_features: dependency["uses_default_features"] != false,
        })
        .collect();
    Package { name: text(&value["name"]), dependencies }
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Checks every arrow of every crate.
pub(crate) fn check(packages: &[Package]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for package in packages {
        if floor(&package.name).is_none() && !WORKSHOP.contains(&package.name.as_str()) {
            problems.push(Problem::new(
                manifest(&package.name),
                "this crate has no floor: give it one in xtask/src/tidy/floors.rs, or make it a module",
            ));
        }
        for dependency in &package.dependencies {
            problems.extend(
                check_arrow(&package.name, dependency)
                    .map(|message| Problem::new(manifest(&package.name), message)),
            );
        }
    }
    problems
}

/// The store is a StateMachine and never knows Raft: of its names it uses only the ids of entries.
pub(crate) fn check_names(sources: &[Source]) -> Vec<Problem> {
    let store = sources.iter().filter(|source| source.path.starts_with("crates/store/src/"));
    let mut problems = Vec::new();
    for source in store {
        for (at, _) in source.code.match_indices("raft::") {
            let before = source.code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let rest = &source.code[at + "raft::".len()..];
            let end = if rest.starts_with('{') {
                rest.find('}')
            } else {
                rest.find([':', ';', '(', ' ', ',', '>', '\n'])
            };
            let named = &rest[..end.unwrap_or(rest.len())];
            let mut words = named.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty());
            if let Some(word) = words.find(|word| !STORE_MAY_NAME.contains(word)) {
                let line = source.code[..at].matches('\n').count() + 1;
                let message = format!("store never knows Raft: it must not use raft::{word}");
                problems.push(Problem::at(&source.path, line, message));
            }
        }
    }
    problems
}

fn check_arrow(from: &str, dependency: &Dependency) -> Option<String> {
    let to = dependency.name.as_str();
    if let Some((_, _, reason)) = FORBIDDEN.iter().find(|(a, b, _)| (*a, *b) == (from, to)) {
        return Some(format!("{from} must not use {to}: {reason}"));
    }
    if WORKSHOP.contains(&to) && floor(from).is_some() && !WORKSHOP_DOORS.contains(&(from, to)) {
        return Some(format!("{from} must not use {to}, which belongs to the workshop"));
    }
    if let (Some(upper), Some(lower)) = (floor(from), floor(to))
        && upper <= lower
        // Tests of a crate may ask for a feature of the crate itself.
        && !(dependency.development && from == to)
        && !SAME_FLOOR.contains(&(from, to))
    {
        return Some(format!(
            "{from} (floor {upper}) must not use {to} (floor {lower}): arrows point down only; \
             move the shared part to a lower floor"
        ));
    }
    if from == "raft" && !dependency.development {
        if !RAFT_MAY_USE.contains(&to) {
            return Some(format!("raft must not use {to}: its only dependency is bytes"));
        }
        if dependency.default_features {
            return Some(format!("raft must use {to} with default-features = false: it is no_std"));
        }
    }
    let (_, allowed) = RESERVED.iter().find(|(name, _)| *name == to)?;
    (!allowed.contains(&from)).then(|| {
        format!(
            "{from} must not use {to}: only {} may; ask them through their door",
            allowed.join(", ")
        )
    })
}

fn floor(name: &str) -> Option<u32> {
    FLOORS.iter().find(|(crate_name, _)| *crate_name == name).map(|&(_, floor)| floor)
}

fn manifest(name: &str) -> String {
    if name == "xtask" || name == "conformance" {
        format!("{name}/Cargo.toml")
    } else {
        format!("crates/{name}/Cargo.toml")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrow(name: &str) -> Dependency {
        Dependency { name: name.to_owned(), development: false, default_features: false }
    }

    #[track_caller]
    fn check_red(from: &str, to: Dependency, expect: &str) {
        let package = Package { name: from.to_owned(), dependencies: vec![to] };
        let problems = check(&[package]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].message.contains(expect), "{}", problems[0]);
    }

    #[test]
    fn an_arrow_that_points_up_is_refused() {
        check_red("wal", arrow("host"), "arrows point down only");
        check_red("host", arrow("store"), "arrows point down only");
        check_red("raft", arrow("env"), "arrows point down only");
    }

    #[test]
    fn an_arrow_to_a_test_only_crate_above_is_refused_as_well() {
        let dependency = Dependency { development: true, ..arrow("server") };
        check_red("store", dependency, "arrows point down only");
    }

    #[test]
    fn only_the_binary_has_a_door_into_the_workshop() {
        check_red("server", arrow("sim"), "belongs to the workshop");
        check_red("flotilla", arrow("conformance"), "belongs to the workshop");
        let package = Package { name: "flotilla".to_owned(), dependencies: vec![arrow("sim")] };
        assert_eq!(check(&[package]), []);
    }

    #[test]
    fn the_core_uses_bytes_and_nothing_else() {
        check_red("raft", arrow("serde"), "its only dependency is bytes");
        let with_std = Dependency { default_features: true, ..arrow("bytes") };
        check_red("raft", with_std, "no_std");
    }

    #[test]
    fn runtime_and_protobuf_stay_on_their_floors() {
        check_red("host", arrow("tokio"), "only server, client");
        check_red("store", arrow("prost"), "only api, server");
    }

    #[test]
    fn the_store_never_knows_raft() {
        let check = |text: &str| check_names(&[Source::scan("crates/store/src/a.rs", text)]).len();
        assert_eq!(check("use raft::EntryId;\nuse raft::{EntryId, Term};\n"), 0);
        assert_eq!(check("use raft::Node;\n"), 1);
        assert_eq!(check("let a = Draft::new();\n"), 0);
        assert_eq!(check("use raft::{EntryId, Message};\n"), 1);
        check_red("store", arrow("wal"), "never sees the Raft log");
    }

    #[test]
    fn a_crate_may_ask_for_its_own_features_in_its_tests() {
        let own = Dependency { development: true, ..arrow("raft") };
        let package = Package { name: "raft".to_owned(), dependencies: vec![own] };
        assert_eq!(check(&[package]), []);
    }

    #[test]
    fn a_crate_without_a_floor_is_refused() {
        let package = Package { name: "util".to_owned(), dependencies: Vec::new() };
        assert!(check(&[package])[0].message.contains("no floor"));
    }

    #[test]
    fn arrows_that_point_down_pass() {
        let dependencies = vec![arrow("raft"), arrow("seglog"), arrow("env"), arrow("bytes")];
        assert_eq!(check(&[Package { name: "wal".to_owned(), dependencies }]), []);
    }
}
