//! Where flags come from beside the command line, as in etcd: `--data-dir` of `serve` is also
//! `ETCD_DATA_DIR`, and `FLOTILLA_DATA_DIR`, which wins; a flag on the command line wins over both,
//! and a configuration file replaces all of them. `--cacert` of `ctl` and `bench` is also
//! `ETCDCTL_CACERT` and `FLOTILLA_CACERT`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use crate::config_file;
use crate::etcd_flags::{self, Fate};

const CONFIG_FILE: &str = "config-file";
/// Variables of the other commands.
const NOT_FLAGS: &[&str] = &[
    "FLOTILLA_ENDPOINTS",
    "FLOTILLA_USER",
    "FLOTILLA_PASSWORD",
    "FLOTILLA_CACERT",
    "FLOTILLA_CERT",
    "FLOTILLA_KEY",
    "FLOTILLA_INSECURE_SKIP_TLS_VERIFY",
    "FLOTILLA_CONFIG_FILE",
    "ETCD_CONFIG_FILE",
];
/// Flags of `ctl` and `bench` that variables set.
const OF_CTL: [&str; 7] =
    ["endpoints", "user", "password", "cacert", "cert", "key", "insecure-skip-tls-verify"];

/// A command line with the flags that came from elsewhere.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Expanded {
    pub(crate) arguments: Vec<OsString>,
    /// What is not heeded, with what to do about it.
    pub(crate) warnings: Vec<String>,
}

/// Adds what the environment or a file says to a command line, writes `-name` as `--name`, since
/// etcd takes both, and takes off what has no meaning here.
///
/// # Errors
/// Why nothing can be started with all that.
pub(crate) fn expand(
    arguments: Vec<OsString>,
    flags: &[String],
    variables: &BTreeMap<String, String>,
) -> Result<Expanded, String> {
    match arguments.get(1).and_then(|word| word.to_str()) {
        Some("serve") => of_serve(arguments, flags, variables),
        Some("ctl" | "bench") => Ok(of_ctl(arguments, variables)),
        _ => Ok(Expanded { arguments, warnings: Vec::new() }),
    }
}

/// Flags that any command of `ctl` takes stand right behind `ctl`, and those of `bench` as well.
fn of_ctl(mut arguments: Vec<OsString>, variables: &BTreeMap<String, String>) -> Expanded {
    for flag in OF_CTL {
        let names = ["FLOTILLA_", "ETCDCTL_"].map(|prefix| variable(prefix, flag));
        let value = names.iter().find_map(|name| variables.get(name));
        if let Some(value) = value.filter(|_| !is_given(&arguments, flag)) {
            arguments.insert(2, format!("--{flag}={value}").into());
        }
    }
    Expanded { arguments, warnings: Vec::new() }
}

fn of_serve(
    mut arguments: Vec<OsString>,
    flags: &[String],
    variables: &BTreeMap<String, String>,
) -> Result<Expanded, String> {
    let mut known: Vec<&str> = flags.iter().map(String::as_str).collect();
    known.extend(etcd_flags::foreign_names());
    for argument in arguments.iter_mut().skip(2) {
        if let Some(spelled) = argument.to_str().and_then(|word| spelled(word, &known)) {
            *argument = spelled.into();
        }
    }
    let mut warnings = Vec::new();
    if let Some(path) = config_file(&arguments, variables) {
        arguments = from_file(&path, &arguments, &known)?;
    } else {
        add_variables(&mut arguments, &known, variables, &mut warnings);
    }
    take_off_foreign(&mut arguments, &mut warnings)?;
    Ok(Expanded { arguments, warnings })
}

/// The configuration file that is asked for.
fn config_file(arguments: &[OsString], variables: &BTreeMap<String, String>) -> Option<String> {
    let mut words = arguments.iter().skip(2).filter_map(|word| word.to_str());
    while let Some(word) = words.next() {
        match word.strip_prefix("--config-file") {
            Some("") => return words.next().map(str::to_owned),
            Some(rest) if rest.starts_with('=') => return Some(rest[1..].to_owned()),
            _ => {}
        }
    }
    let names = ["FLOTILLA_CONFIG_FILE", "ETCD_CONFIG_FILE"];
    names.iter().find_map(|name| variables.get(*name)).filter(|path| !path.is_empty()).cloned()
}

/// The command line that a file stands for. Nothing else counts, as in etcd.
fn from_file(path: &str, arguments: &[OsString], known: &[&str]) -> Result<Vec<OsString>, String> {
    let text =
        std::fs::read_to_string(Path::new(path)).map_err(|error| format!("{path}: {error}"))?;
    let flags = config_file::parse(&text).map_err(|reason| format!("{path}: {reason}"))?;
    let mut all: Vec<OsString> = arguments.iter().take(2).cloned().collect();
    for (flag, value) in flags {
        let flag = alias(&flag, known);
        if !known.contains(&flag) {
            return Err(format!("{path}: there is no key {flag}; see flotilla serve --help"));
        }
        all.push(format!("--{flag}={value}").into());
    }
    Ok(all)
}

fn add_variables(
    arguments: &mut Vec<OsString>,
    known: &[&str],
    variables: &BTreeMap<String, String>,
    warnings: &mut Vec<String>,
) {
    let mut heeded = Vec::new();
    for flag in known {
        let experimental = format!("experimental-{flag}");
        let names = [
            variable("FLOTILLA_", flag),
            variable("ETCD_", flag),
            variable("ETCD_", &experimental),
        ];
        let value = names.iter().find_map(|name| variables.get(name));
        if let Some(value) = value.filter(|_| !is_given(arguments, flag)) {
            arguments.push(format!("--{flag}={value}").into());
        }
        heeded.extend(names);
    }
    let unknown = variables
        .keys()
        .filter(|name| name.starts_with("FLOTILLA_") || name.starts_with("ETCD_"))
        .filter(|name| !heeded.contains(name) && !NOT_FLAGS.contains(&name.as_str()));
    warnings.extend(
        unknown.map(|name| format!("the variable {name} means nothing here and is not looked at")),
    );
}

/// Takes etcd's flags off that set nothing.
fn take_off_foreign(
    arguments: &mut Vec<OsString>,
    warnings: &mut Vec<String>,
) -> Result<(), String> {
    let mut kept: Vec<OsString> = Vec::new();
    let mut words = std::mem::take(arguments).into_iter();
    while let Some(word) = words.next() {
        let flag = word.to_str().and_then(|word| word.strip_prefix("--"));
        let (name, value) = match flag.map(|flag| (flag, flag.split_once('='))) {
            Some((_, Some((name, value)))) => (name, Some(value)),
            Some((name, None)) => (name, None),
            None => ("", None),
        };
        if !etcd_flags::is_foreign(name) {
            kept.push(word);
            continue;
        }
        let value = match value {
            Some(value) => value.to_owned(),
            None if etcd_flags::takes_a_word(name) => {
                words.next().and_then(|word| word.into_string().ok()).unwrap_or_default()
            }
            None => "true".to_owned(),
        };
        match etcd_flags::fate(name, &value) {
            Fate::Done => {}
            Fate::Warned(warning) => warnings.push(warning),
            Fate::Refused(reason) => return Err(reason),
        }
    }
    *arguments = kept;
    Ok(())
}

fn variable(prefix: &str, flag: &str) -> String {
    format!("{prefix}{}", flag.to_uppercase().replace('-', "_"))
}

/// What a flag of etcd 3.5 is called since it is no experiment any more.
fn alias<'a>(name: &'a str, known: &[&str]) -> &'a str {
    match name.strip_prefix("experimental-") {
        Some(settled) if known.contains(&settled) => settled,
        _ => name,
    }
}

/// `-name=x` or `--experimental-name=x` as `--name=x`, if there is such a flag.
fn spelled(word: &str, known: &[&str]) -> Option<String> {
    let rest = word.strip_prefix('-')?;
    let rest = rest.strip_prefix('-').unwrap_or(rest);
    let (name, behind) = rest.split_at(rest.find('=').unwrap_or(rest.len()));
    let name = alias(name, known);
    (known.contains(&name) || name == CONFIG_FILE).then(|| format!("--{name}{behind}"))
}

fn is_given(arguments: &[OsString], flag: &str) -> bool {
    arguments.iter().filter_map(|word| word.to_str()).any(|word| {
        let name = word.strip_prefix("--").map(|rest| rest.split_once('=').map_or(rest, |p| p.0));
        name == Some(flag)
    })
}

#[cfg(test)]
mod tests;
