//! Rules for whole documents and for the house's shape.

use super::{House, Problem};

/// The longest that a document may be, in lines.
const LENGTHS: &[(&str, usize)] = &[("ARCHITECTURE.md", 300), ("docs/roadmap.md", 80)];

/// Documents that a reader expects to find.
const EXPECTED: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LICENSE",
    "docs/exit-codes.md",
    "docs/glossary.md",
    "docs/limits.md",
    "docs/raft-map.md",
    "docs/roadmap.md",
    "docs/testing.md",
];

/// Checks that documents exist, have a title and are short enough; and that clippy.toml is one.
pub(crate) fn check(house: &House) -> Vec<Problem> {
    let mut problems: Vec<Problem> = EXPECTED
        .iter()
        .filter(|path| !house.root.join(path).exists())
        .map(|path| Problem::new(*path, "is missing: a reader expects it"))
        .collect();
    problems.extend(check_texts(house));
    problems
}

fn check_texts(house: &House) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in &house.files {
        let lines = file.text.lines().count();
        if let Some((_, most)) =
            LENGTHS.iter().find(|(path, most)| *path == file.path && lines > *most)
        {
            problems.push(Problem::new(
                &file.path,
                format!("{lines} lines, {most} are allowed: say less"),
            ));
        }
        if file.path.ends_with(".md") && !file.text.starts_with("# ") {
            problems.push(Problem::at(
                &file.path,
                1,
                "the first line is no title: begin with `# `",
            ));
        }
        if file.path.ends_with("/clippy.toml") {
            problems.push(Problem::new(
                &file.path,
                "would replace the workspace's clippy.toml, bans and all: delete it",
            ));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::super::house_of;
    use super::*;

    #[track_caller]
    fn check_one(path: &str, text: &str, expect: Option<&str>) {
        let problems = check_texts(&house_of(&[(path, text)]));
        assert_eq!(problems.len(), usize::from(expect.is_some()), "{problems:?}");
        if let Some(expect) = expect {
            assert!(problems[0].message.contains(expect), "{}", problems[0]);
        }
    }

    #[test]
    fn the_architecture_fits_three_hundred_lines() {
        check_one("ARCHITECTURE.md", &format!("# A\n{}", "\n".repeat(299)), None);
        check_one("ARCHITECTURE.md", &format!("# A\n{}", "\n".repeat(300)), Some("301 lines"));
    }

    #[test]
    fn a_document_begins_with_its_title() {
        check_one("docs/a.md", "text\n", Some("no title"));
    }

    #[test]
    fn a_second_clippy_toml_is_refused() {
        check_one("crates/raft/clippy.toml", "", Some("delete it"));
    }

    #[test]
    fn a_missing_document_is_told() {
        let problems = check(&house_of(&[]));
        assert_eq!(problems.len(), EXPECTED.len());
    }
}
