//! Sizes and exceptions, as a ratchet: `xtask/ratchet.txt` holds what exists today, and numbers
//! there may only become smaller. A number that grew is a problem; so is one that shrank and was
//! not recorded.

use std::collections::BTreeMap;
use std::fs;

use super::source::Source;
use super::{House, Problem};

/// Product lines of a file above which it is counted, per crate.
const FILE_LINES_SOFT: usize = 400;
/// Product lines of a file above which it needs an entry of its own.
const FILE_LINES_HARD: usize = 800;
/// Code lines of a function above which it needs an entry of its own; the same as in clippy.toml.
const FUNCTION_LINES: usize = 70;

pub(crate) const RATCHET: &str = "xtask/ratchet.txt";

const HEAD: &str = "\
# What is larger than the house wants, today. Numbers here may only become smaller.
# `cargo xtask tidy --tighten` records what became smaller; to grow, change the code instead.
#
# file      product lines of a file above 800
# function  code lines of a function above 70
# large     files of a crate above 400 product lines
# expect    exceptions from lints (`#[expect(…)]`) in a crate's product code
";

/// Checks the sizes of today against the recorded ones.
pub(crate) fn check(house: &House) -> Vec<Problem> {
    let recorded = match recorded(house) {
        Ok(recorded) => recorded,
        Err(problem) => return vec![problem],
    };
    let today = measure(house);
    let mut problems = Vec::new();
    for (name, &size) in &today {
        match recorded.get(name).copied().unwrap_or(0) {
            limit if size > limit => problems.push(grown(name, size, limit)),
            limit if size < limit => problems.push(shrunk(name, size, limit)),
            _ => {}
        }
    }
    for (name, &limit) in &recorded {
        if !today.contains_key(name) {
            problems.push(shrunk(name, 0, limit));
        }
    }
    problems
}

fn grown(name: &str, size: usize, limit: usize) -> Problem {
    let (kind, place) = name.split_once(' ').unwrap_or((name, RATCHET));
    let remedy = match kind {
        "file" => format!(
            "{size} lines without tests, {FILE_LINES_HARD} are allowed: one concept per file"
        ),
        "function" => format!("{size} code lines, {FUNCTION_LINES} are allowed: split by decision"),
        "large" => {
            format!("{size} files above {FILE_LINES_SOFT} lines, {limit} are recorded: split one")
        }
        _ => format!("{size} uses of #[expect(…)], {limit} are recorded: do without one"),
    };
    Problem::new(place, format!("{remedy} (or record it in {RATCHET} and say why in the commit)"))
}

fn shrunk(name: &str, size: usize, limit: usize) -> Problem {
    let message = format!(
        "`{name}` is {size} now, {limit} is recorded: record the better number with \
         `cargo xtask tidy --tighten`"
    );
    Problem::new(RATCHET, message)
}

/// Writes the numbers of today wherever they are smaller; without a file, all of them.
pub(crate) fn tighten(house: &House) -> Result<String, String> {
    let today = measure(house);
    let path = house.root.join(RATCHET);
    let recorded = if path.exists() {
        recorded(house).map_err(|problem| problem.to_string())?
    } else {
        today.clone()
    };
    let tightened: Vec<String> = recorded
        .iter()
        .filter_map(|(name, &limit)| Some((name, limit.min(*today.get(name)?))))
        .map(|(name, size)| format!("{size:>6} {name}"))
        .collect();
    fs::write(&path, format!("{HEAD}{}\n", tightened.join("\n")))
        .map_err(|error| format!("{RATCHET}: {error}"))?;
    Ok(format!("tidy: {} numbers recorded in {RATCHET}", tightened.len()))
}

fn recorded(house: &House) -> Result<BTreeMap<String, usize>, Problem> {
    let Some(file) = house.files.iter().find(|file| file.path == RATCHET) else {
        return Ok(BTreeMap::new());
    };
    let mut numbers = BTreeMap::new();
    for (index, line) in file.text.lines().enumerate() {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let entry = line
            .trim_start()
            .split_once(' ')
            .and_then(|(number, name)| Some((name.to_owned(), number.parse::<usize>().ok()?)));
        let Some((name, number)) = entry else {
            return Err(Problem::at(
                RATCHET,
                index + 1,
                "not of the form `<number> <kind> <name>`",
            ));
        };
        numbers.insert(name, number);
    }
    Ok(numbers)
}

fn measure(house: &House) -> BTreeMap<String, usize> {
    let mut sizes = BTreeMap::new();
    for source in house.sources.iter().filter(|source| !source.generated) {
        let lines = source.product_lines();
        if lines > FILE_LINES_HARD {
            sizes.insert(format!("file {}", source.path), lines);
        }
        if lines > FILE_LINES_SOFT {
            *sizes.entry(format!("large {}", source.package_folder())).or_insert(0) += 1;
        }
        for function in &source.functions {
            let in_tests = source.line_is_test.get(function.line - 1).copied().unwrap_or(false);
            if function.code_lines > FUNCTION_LINES && !in_tests {
                let name = format!("function {}::{}", source.path, function.name);
                let size = sizes.entry(name).or_insert(0);
                *size = (*size).max(function.code_lines);
            }
        }
        let expects = count_expects(source);
        if expects > 0 {
            *sizes.entry(format!("expect {}", source.package_folder())).or_insert(0) += expects;
        }
    }
    sizes
}

fn count_expects(source: &Source) -> usize {
    source
        .code
        .lines()
        .zip(&source.line_is_test)
        .filter(|&(_, &is_test)| !is_test)
        .filter(|(line, _)| line.contains("#[expect(") || line.contains("#![expect("))
        .count()
}

#[cfg(test)]
mod tests {
    use super::super::house_of;
    use super::*;

    #[track_caller]
    fn check_messages(files: &[(&str, &str)], expect: &[&str]) {
        let problems = check(&house_of(files));
        assert_eq!(problems.len(), expect.len(), "{problems:?}");
        for (problem, expect) in problems.iter().zip(expect) {
            assert!(problem.to_string().contains(expect), "{problem}");
        }
    }

    fn function_of(code_lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    step();\n".repeat(code_lines))
    }

    #[test]
    fn a_function_of_71_code_lines_is_too_long() {
        check_messages(&[("crates/a/src/b.rs", &function_of(70))], &[]);
        check_messages(
            &[("crates/a/src/b.rs", &function_of(71))],
            &["71 code lines, 70 are allowed"],
        );
    }

    #[test]
    fn a_recorded_size_may_stay_but_not_grow() {
        let record = "# head\n    72 function crates/a/src/b.rs::long\n";
        check_messages(&[("crates/a/src/b.rs", &function_of(72)), (RATCHET, record)], &[]);
        check_messages(
            &[("crates/a/src/b.rs", &function_of(73)), (RATCHET, record)],
            &["73 code lines"],
        );
    }

    #[test]
    fn a_size_that_shrank_must_be_recorded() {
        let record = "    72 function crates/a/src/b.rs::long\n";
        check_messages(
            &[("crates/a/src/b.rs", &function_of(71)), (RATCHET, record)],
            &["is 71 now, 72 is recorded"],
        );
        check_messages(
            &[("crates/a/src/b.rs", &function_of(3)), (RATCHET, record)],
            &["is 0 now, 72 is recorded"],
        );
    }

    #[test]
    fn a_file_of_801_lines_is_too_long_and_its_tests_are_free() {
        let product = "const A: u8 = 0;\n".repeat(801);
        check_messages(
            &[("crates/a/src/b.rs", &product)],
            &["801 lines without tests", "1 files above 400 lines"],
        );
        let tests = format!("#[cfg(test)]\nmod tests {{\n{product}}}\n");
        check_messages(&[("crates/a/src/b.rs", &tests)], &[]);
    }

    #[test]
    fn generated_code_is_not_measured() {
        let product = format!("// @generated by codegen\n{}", "const A: u8 = 0;\n".repeat(900));
        check_messages(&[("crates/api/src/b.rs", &product)], &[]);
    }

    #[test]
    fn exceptions_are_counted() {
        let text = "#[expect(clippy::too_many_lines, reason = \"\")]\nfn a() {}\n";
        check_messages(&[("crates/a/src/b.rs", text)], &["1 uses of #[expect(…)], 0 are recorded"]);
    }
}
