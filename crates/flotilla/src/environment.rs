//! Flags from the environment, as etcd has them: `--data-dir` is also `ETCD_DATA_DIR`, and
//! `FLOTILLA_DATA_DIR`, which wins; a flag on the command line wins over both.

use std::collections::BTreeMap;
use std::ffi::OsString;

const PREFIXES: [&str; 2] = ["FLOTILLA_", "ETCD_"];
/// Variables of the other commands.
const NOT_FLAGS: &[&str] = &["FLOTILLA_ENDPOINTS", "FLOTILLA_USER"];

/// A command line with the flags that the environment added.
#[derive(Debug)]
pub(crate) struct Expanded {
    pub(crate) arguments: Vec<OsString>,
    /// Variables that look like ours or etcd's and mean nothing to us.
    pub(crate) unknown_variables: Vec<String>,
}

/// Adds what the environment says to a command line of `serve`, and writes `-name` as `--name`,
/// since etcd takes both; leaves any other command line as it is.
pub(crate) fn expand(
    mut arguments: Vec<OsString>,
    flags: &[String],
    variables: &BTreeMap<String, String>,
) -> Expanded {
    let mut unknown_variables = Vec::new();
    if arguments.get(1).is_none_or(|word| word != "serve") {
        return Expanded { arguments, unknown_variables };
    }
    for argument in arguments.iter_mut().skip(2) {
        if let Some(doubled) = argument.to_str().and_then(|word| doubled(word, flags)) {
            *argument = doubled.into();
        }
    }
    let mut known = Vec::new();
    for flag in flags {
        let [ours, theirs] = PREFIXES.map(|prefix| variable(prefix, flag));
        let value = variables.get(&ours).or_else(|| variables.get(&theirs));
        if let Some(value) = value.filter(|_| !is_given(&arguments, flag)) {
            arguments.push(format!("--{flag}={value}").into());
        }
        known.extend([ours, theirs]);
    }
    unknown_variables.extend(
        variables
            .keys()
            .filter(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
            .filter(|name| !known.contains(name) && !NOT_FLAGS.contains(&name.as_str()))
            .cloned(),
    );
    Expanded { arguments, unknown_variables }
}

fn variable(prefix: &str, flag: &str) -> String {
    format!("{prefix}{}", flag.to_uppercase().replace('-', "_"))
}

/// `-name=x` as `--name=x`, if there is such a flag.
fn doubled(word: &str, flags: &[String]) -> Option<String> {
    let rest = word.strip_prefix('-').filter(|rest| !rest.starts_with('-'))?;
    let name = rest.split_once('=').map_or(rest, |(name, _)| name);
    flags.iter().any(|flag| flag == name).then(|| format!("--{rest}"))
}

fn is_given(arguments: &[OsString], flag: &str) -> bool {
    arguments.iter().filter_map(|word| word.to_str()).any(|word| {
        let name = word.strip_prefix("--").map(|rest| rest.split_once('=').map_or(rest, |p| p.0));
        name == Some(flag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, environment: &[(&str, &str)], expect: &str, unknown: &[&str]) {
        let arguments = line.split(' ').map(OsString::from).collect();
        let variables =
            environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let flags = ["name".to_owned(), "data-dir".to_owned()];
        let expanded = expand(arguments, &flags, &variables);
        let words: Vec<_> = expanded.arguments.iter().filter_map(|word| word.to_str()).collect();
        assert_eq!(words.join(" "), expect);
        assert_eq!(expanded.unknown_variables, unknown);
    }

    #[test]
    fn both_families_of_variables_are_read_and_ours_wins() {
        check("f serve", &[("ETCD_DATA_DIR", "/a")], "f serve --data-dir=/a", &[]);
        let both = [("ETCD_NAME", "a"), ("FLOTILLA_NAME", "b")];
        check("f serve", &both, "f serve --name=b", &[]);
    }

    #[test]
    fn a_flag_wins_over_the_environment() {
        check("f serve --name c", &[("FLOTILLA_NAME", "b")], "f serve --name c", &[]);
        check("f serve --name=c", &[("ETCD_NAME", "b")], "f serve --name=c", &[]);
    }

    #[test]
    fn a_single_dash_is_as_good_as_two() {
        check("f serve -name c -x", &[], "f serve --name c -x", &[]);
    }

    #[test]
    fn unknown_variables_are_told() {
        check("f serve", &[("ETCD_CERT_FILE", "x")], "f serve", &["ETCD_CERT_FILE"]);
        check("f serve", &[("FLOTILLA_ENDPOINTS", "x"), ("PATH", "y")], "f serve", &[]);
        check("f dev", &[("ETCD_NAME", "x")], "f dev", &[]);
    }
}
