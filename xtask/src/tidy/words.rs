//! Words that have no place here, each with what to write instead.

use super::{File, House, Problem};

/// Where a word is banned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    /// In every text file.
    Anywhere,
    /// In Rust text, comments and literals included.
    Rust,
    /// In Rust text that is no test.
    Product,
    /// In the code of Rust tests, comments and literals not included.
    TestCode,
}

struct Ban {
    word: &'static str,
    place: Where,
    instead: &'static str,
}

const BANS: &[Ban] = &[
    Ban {
        word: concat!("/", "work/"),
        place: Where::Anywhere,
        instead: "a path of one machine: make it relative",
    },
    Ban {
        word: "/root/",
        place: Where::Anywhere,
        instead: "a path of one machine: make it relative",
    },
    Ban {
        word: "/home/",
        place: Where::Anywhere,
        instead: "a path of one machine: make it relative",
    },
    Ban { word: "FIXME", place: Where::Anywhere, instead: "repair it, or write TODO(#number)" },
    Ban { word: "XXX", place: Where::Rust, instead: "say what is wrong in a sentence" },
    Ban {
        word: "#[ignore",
        place: Where::Rust,
        instead: "a test that does not run proves nothing: repair or delete it",
    },
    Ban {
        word: "#[allow(",
        place: Where::Product,
        instead: "use #[expect(lint, reason = \"…\")], which ends when its cause ends",
    },
    Ban {
        word: "#![allow(",
        place: Where::Product,
        instead: "use #![expect(lint, reason = \"…\")], which ends when its cause ends",
    },
    Ban {
        word: "thread::sleep",
        place: Where::TestCode,
        instead: "wait for the event itself, with a deadline",
    },
    Ban { word: "dbg!", place: Where::Rust, instead: "use tracing" },
];

/// This file and the fixtures of its neighbours must name what they ban.
const EXEMPT: &[&str] = &["xtask/src/tidy/words.rs"];

const COLUMNS_MAX: usize = 100;

/// Checks every file for banned words, unnumbered TODOs and overlong lines.
pub(crate) fn check(house: &House) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in house.files.iter().filter(|file| !EXEMPT.contains(&file.path.as_str())) {
        let source = house.sources.iter().find(|source| source.path == file.path);
        if source.is_some_and(|source| source.generated) {
            continue;
        }
        for (index, line) in file.text.lines().enumerate() {
            let test_code = source
                .filter(|source| source.line_is_test.get(index).copied().unwrap_or(false))
                .and_then(|source| source.code.lines().nth(index));
            let lines = Lines { text: line, is_rust: source.is_some(), test_code };
            let found = banned(&lines).into_iter().chain(unnumbered(line)).chain(overlong(&lines));
            problems.extend(found.map(|message| Problem::at(&file.path, index + 1, message)));
        }
        problems.extend(check_ending(file));
    }
    problems
}

struct Lines<'a> {
    text: &'a str,
    is_rust: bool,
    test_code: Option<&'a str>,
}

fn banned(lines: &Lines<'_>) -> Option<String> {
    let ban = BANS.iter().find(|ban| match ban.place {
        Where::Anywhere => lines.text.contains(ban.word),
        Where::Rust => lines.is_rust && lines.text.contains(ban.word),
        // A helper that several test programs include is partly unused in each, but not the same
        // part: an expectation would be wrong in some of them.
        Where::Product => {
            lines.is_rust && lines.test_code.is_none() && lines.text.contains(ban.word)
        }
        Where::TestCode => lines.test_code.is_some_and(|code| code.contains(ban.word)),
    })?;
    Some(format!("`{}` is banned: {}", ban.word, ban.instead))
}

fn unnumbered(line: &str) -> Option<String> {
    let (_, after) = line.split_once("TODO")?;
    let numbered = after
        .strip_prefix("(#")
        .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    (!numbered).then(|| "a TODO needs the number of its issue: TODO(#12)".to_owned())
}

/// rustfmt leaves comments and long literals alone; a literal or a link may be as long as it must.
fn overlong(lines: &Lines<'_>) -> Option<String> {
    let columns = lines.text.chars().count();
    let excused = lines.text.contains('"') || lines.text.contains("://");
    (lines.is_rust && columns > COLUMNS_MAX && !excused)
        .then(|| format!("{columns} columns, {COLUMNS_MAX} are allowed: break the line"))
}

fn check_ending(file: &File) -> Option<Problem> {
    let ends_well = file.text.is_empty() || file.text.ends_with('\n');
    (!ends_well).then(|| Problem::new(&file.path, "the last line has no newline: add one"))
}

#[cfg(test)]
mod tests {
    use super::super::house_of;
    use super::*;

    #[track_caller]
    fn check_one(path: &str, text: &str, expect: Option<&str>) {
        let problems = check(&house_of(&[(path, text)]));
        match expect {
            Some(expect) => {
                assert_eq!(problems.len(), 1, "{problems:?}");
                assert!(problems[0].to_string().contains(expect), "{}", problems[0]);
            }
            None => assert_eq!(problems, []),
        }
    }

    #[test]
    fn machine_paths_are_banned_everywhere() {
        check_one("README.md", "see /home/me/flotilla\n", Some("README.md:1: `/home/` is banned"));
    }

    #[test]
    fn a_todo_needs_a_number() {
        check_one("crates/a/src/b.rs", "// TODO: later\n", Some("TODO(#12)"));
        check_one("crates/a/src/b.rs", "// TODO(#7): later\n", None);
    }

    #[test]
    fn a_test_does_not_sleep() {
        let sleeping = "fn a() {\n    std::thread::sleep(b);\n}\n";
        check_one("crates/a/tests/b.rs", sleeping, Some("wait for the event itself"));
        check_one("crates/a/tests/b.rs", "// thread::sleep is banned here\n", None);
    }

    #[test]
    fn a_test_is_not_ignored() {
        check_one("crates/a/src/b.rs", "#[ignore]\nfn a() {}\n", Some("proves nothing"));
    }

    #[test]
    fn an_exception_is_an_expectation() {
        check_one("crates/a/src/b.rs", "#[allow(dead_code)]\nfn a() {}\n", Some("use #[expect"));
    }

    #[test]
    fn lines_end_at_a_hundred_columns() {
        check_one("crates/a/src/b.rs", &format!("// {}\n", "a".repeat(98)), Some("101 columns"));
        check_one("crates/a/src/b.rs", &format!("// {}\n", "a".repeat(97)), None);
        check_one("docs/a.md", &format!("{}\n", "a".repeat(120)), None);
    }

    #[test]
    fn a_file_ends_with_a_newline() {
        check_one("docs/a.md", "text", Some("no newline"));
    }
}
