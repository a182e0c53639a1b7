//! The track record names tests: each of them exists, and every scenario that they show has a row.

use std::collections::BTreeSet;

use super::{House, Problem};

const RECORD: &str = "docs/track-record.md";
/// Rows before it are of bugs of this house, some of which have the id of a scenario.
const OTHERS: &str = "## Bugs of others";
const STORIES: &str = "crates/raft/testdata/";

/// The scenarios that a test of the core alone can show.
const SCENARIOS: &[&str] = &[
    "E1", "E3", "E4", "E6", "E7", "E8", "E10", "E11", "E14", "E15", "E16", "E17", "E18", "E20",
    "E21", "E22", "L1", "L3", "L4", "L5", "L6", "L8", "L9", "L10", "L11", "L13", "L14", "L16",
    "L17", "L18", "L20", "L21", "L22", "L23", "C1", "C2", "C4", "C5", "R4", "R10", "R12", "M1",
    "M2", "M3", "M6", "M8", "M9", "M10", "M13", "M15", "M17", "S4", "S9", "S16", "N13",
];

/// Those that take disks, clocks, several nodes or a client.
const SYSTEM_SCENARIOS: &[&str] = &[
    "E2", "E12", "E19", "L2", "L19", "C6", "C7", "C8", "C9", "C10", "C11", "C12", "C13", "R2",
    "R3", "R6", "R7", "R9", "R11", "R13", "M5", "M12", "M14", "M16", "M18", "S1", "S2", "S5", "S6",
    "S8", "S10", "S11", "S13", "S14", "S15", "D1", "D2", "D3", "D4", "D5", "D6", "D7", "D8", "D11",
    "D12", "D13", "D14", "D15", "N1", "N2", "N3", "N5", "N7", "N8", "N10", "N11", "N12", "T1",
    "T5", "T6", "T7", "G1", "G2", "G7", "W1", "W2", "W4", "W6", "W7", "W8", "W9", "W10", "W11",
];

/// Checks the document, if there is one.
pub(crate) fn check(house: &House) -> Vec<Problem> {
    let Some(record) = house.files.iter().find(|file| file.path == RECORD) else {
        return Vec::new();
    };
    let functions = functions(house);
    let mut rows = BTreeSet::new();
    let mut problems = Vec::new();
    let mut is_of_others = false;
    for (number, line) in record.text.lines().enumerate() {
        is_of_others |= line == OTHERS;
        let Some(row) = line.strip_prefix("| ") else { continue };
        rows.extend(row.split(" |").next().filter(|_| is_of_others));
        for name in row.split('`').skip(1).step_by(2) {
            let is_there = match name.strip_suffix(".txt") {
                Some(_) => has_story(house, name),
                None => !is_test_name(name) || functions.contains(name),
            };
            if !is_there {
                let message = format!("no test and no story is called `{name}`");
                problems.push(Problem::at(RECORD, number + 1, message));
            }
        }
    }
    let all = SCENARIOS.iter().chain(SYSTEM_SCENARIOS);
    let missing = all.filter(|scenario| !rows.contains(**scenario));
    problems.extend(missing.map(|scenario| {
        Problem::new(RECORD, format!("scenario {scenario} has no row: which test shows it?"))
    }));
    problems
}

fn has_story(house: &House, name: &str) -> bool {
    let name = name.strip_prefix("testdata/").unwrap_or(name);
    house.files.iter().any(|file| file.path.strip_prefix(STORIES) == Some(name))
}

/// A sentence in snake_case; anything shorter names code.
fn is_test_name(name: &str) -> bool {
    name.matches('_').count() >= 3
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// The names of all functions in Rust text.
fn functions(house: &House) -> BTreeSet<&str> {
    let rust = house.files.iter().filter(|file| file.path.ends_with(".rs"));
    let after_fn = rust.flat_map(|file| file.text.split("fn ").skip(1));
    after_fn
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::house_of;
    use super::*;

    #[test]
    fn names_must_exist_and_rows_must_be_there() {
        let row_of = |id: &&str| format!("| {id} | x | `a/b.txt` | y |\n");
        let rows: String = SCENARIOS[1..].iter().chain(SYSTEM_SCENARIOS).map(row_of).collect();
        let story = ("crates/raft/testdata/a/b.txt", "");
        let test = ("crates/x/src/lib.rs", "#[test]\nfn one_of_the_tests() {}\n");
        let check_with = |row: &str| {
            let record =
                format!("# Track record\n\n| E1 | ours | x | y |\n{OTHERS}\n\n{row}\n{rows}");
            let problems = check(&house_of(&[(RECORD, &record), story, test]));
            problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>()
        };
        let nothing: Vec<String> = Vec::new();
        assert_eq!(check_with("| E1 | x | `one_of_the_tests` of `raft::outbox` | y |"), nothing);
        let missing = check_with("| E1 | x | `none_of_the_tests` | y |");
        assert_eq!(missing, ["no test and no story is called `none_of_the_tests`"]);
        let missing = check_with("| E1 | x | `a/c.txt` | y |");
        assert_eq!(missing, ["no test and no story is called `a/c.txt`"]);
        let missing = check_with("| E0 | x | `a/b.txt` | y |");
        assert_eq!(missing, ["scenario E1 has no row: which test shows it?"]);
    }
}
