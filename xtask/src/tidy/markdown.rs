//! What Markdown names must exist: relative links and their anchors, paths and items in backticks.

use std::collections::{BTreeMap, BTreeSet};

use super::{File, House, Problem};

/// First folders of a path that is worth checking when it stands in backticks.
const PATH_ROOTS: &[&str] = &["crates/", "docs/", "xtask/", "conformance/", ".ci/", "fuzz/"];

/// Checks every Markdown file.
pub(crate) fn check(house: &House) -> Vec<Problem> {
    let names = crate_names(house);
    let mut problems = Vec::new();
    for file in house.files.iter().filter(|file| file.path.ends_with(".md")) {
        for (line, text) in prose(&file.text) {
            let found = links(text)
                .filter_map(|target| check_link(house, file, target))
                .chain(backticked(text).filter_map(|quoted| check_quoted(house, &names, quoted)));
            problems.extend(found.map(|message| Problem::at(&file.path, line, message)));
        }
    }
    problems
}

/// Lines outside fenced code blocks, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        (!fenced && !is_fence).then_some((index + 1, line))
    })
}

/// The targets of `[text](target)` in a line.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("](").filter_map(|(at, _)| {
        let rest = &line[at + 2..];
        rest.find(')').map(|end| &rest[..end])
    })
}

fn backticked(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

fn check_link(house: &House, file: &File, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let resolved = if path.is_empty() { file.path.clone() } else { resolve(&file.path, path) };
    if !exists(house, &resolved) {
        return Some(format!("the link ({target}) leads nowhere: {resolved} does not exist"));
    }
    if anchor.is_empty() {
        return None;
    }
    let linked = house.files.iter().find(|other| other.path == resolved)?;
    let headings: BTreeSet<String> = prose(&linked.text)
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| slug(line))
        .collect();
    (!headings.contains(anchor))
        .then(|| format!("the link ({target}) names no heading of {resolved}"))
}

/// A heading's anchor, as the common renderers make it.
fn slug(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

/// A path relative to the folder of `from`, written from the workspace's root.
fn resolve(from: &str, path: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn exists(house: &House, path: &str) -> bool {
    let folder = format!("{path}/");
    house.files.iter().any(|file| file.path == path || file.path.starts_with(&folder))
        || house.root.join(path).exists()
}

fn check_quoted(
    house: &House,
    names: &BTreeMap<String, BTreeSet<String>>,
    quoted: &str,
) -> Option<String> {
    if PATH_ROOTS.iter().any(|root| quoted.starts_with(root)) {
        return check_path(house, quoted);
    }
    check_item(names, quoted)
}

fn check_path(house: &House, quoted: &str) -> Option<String> {
    if quoted.contains(['*', '…', '<', '{', ' ']) {
        return None;
    }
    let path = quoted.trim_end_matches('/');
    (!exists(house, path)).then(|| format!("`{quoted}` does not exist: name what does"))
}

/// `raft::Node::handle` and the like: each word must be a name in that crate's code.
fn check_item(names: &BTreeMap<String, BTreeSet<String>>, quoted: &str) -> Option<String> {
    let path = quoted.trim_end_matches("()");
    let is_path =
        path.contains("::") && path.chars().all(|c| c.is_alphanumeric() || "_:".contains(c));
    if !is_path {
        return None;
    }
    let (first, rest) = path.split_once("::")?;
    let known = names.get(first)?;
    let unknown = rest.split("::").find(|word| !known.contains(*word))?;
    Some(format!("`{quoted}` does not exist: the crate {first} has no `{unknown}`"))
}

/// Every word of each crate's code, and the names of its modules' files.
fn crate_names(house: &House) -> BTreeMap<String, BTreeSet<String>> {
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in &house.sources {
        let Some(package) = source.package_folder().rsplit('/').next() else { continue };
        let known = names.entry(package.to_owned()).or_default();
        known.extend(words(&source.code).map(str::to_owned));
        known.extend(source.path.split(['/', '.']).map(str::to_owned));
    }
    names.remove("");
    names
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::house_of;
    use super::*;

    const CODE: (&str, &str) = ("crates/raft/src/node.rs", "pub struct Node; // not a Ghost\n");
    const GUIDE: (&str, &str) = ("docs/guide.md", "# The guide, first part\n");

    #[track_caller]
    fn check_line(line: &str, expect: Option<&str>) {
        let problems = check(&house_of(&[CODE, GUIDE, ("docs/page.md", line)]));
        match expect {
            Some(expect) => {
                assert_eq!(problems.len(), 1, "{problems:?}");
                assert!(problems[0].to_string().contains(expect), "{}", problems[0]);
            }
            None => assert_eq!(problems, []),
        }
    }

    #[test]
    fn a_relative_link_leads_to_a_file() {
        check_line("see [it](guide.md)\n", None);
        check_line("see [it](../crates/raft/src/node.rs)\n", None);
        check_line("see [it](https://example.org/gone)\n", None);
        check_line("see [it](gone.md)\n", Some("docs/page.md:1: the link (gone.md) leads nowhere"));
    }

    #[test]
    fn an_anchor_names_a_heading() {
        check_line("[it](guide.md#the-guide-first-part)\n", None);
        check_line("[it](guide.md#second-part)\n", Some("names no heading"));
    }

    #[test]
    fn a_quoted_path_exists() {
        check_line("`crates/raft/src/node.rs` and `crates/raft` and `crates/…/lib.rs`\n", None);
        check_line("`crates/raft/src/gone.rs`\n", Some("does not exist"));
    }

    #[test]
    fn a_quoted_item_exists() {
        check_line("`raft::Node`, `raft::node::Node` and `std::mem::take`\n", None);
        check_line("`raft::Ghost`\n", Some("the crate raft has no `Ghost`"));
    }

    #[test]
    fn code_blocks_are_left_alone() {
        check_line("```\n[x](gone.md) `raft::Ghost`\n```\n", None);
    }
}
