use clap::{CommandFactory, Parser};

use super::*;
use crate::{Cli, serve};

fn expanded(line: &str, environment: &[(&str, &str)]) -> Result<Expanded, String> {
    let arguments = line.split(' ').map(OsString::from).collect();
    let variables =
        environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    let flags = ["name".to_owned(), "data-dir".to_owned(), "corrupt-check-time".to_owned()];
    expand(arguments, &flags, &variables)
}

#[track_caller]
fn check(line: &str, environment: &[(&str, &str)], expect: &str, warned: &[&str]) {
    let expanded = expanded(line, environment).unwrap();
    let words: Vec<_> = expanded.arguments.iter().filter_map(|word| word.to_str()).collect();
    assert_eq!(words.join(" "), expect);
    assert_eq!(expanded.warnings.len(), warned.len(), "{:?}", expanded.warnings);
    for (warning, part) in expanded.warnings.iter().zip(warned) {
        assert!(warning.contains(part), "{warning}");
    }
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
fn what_was_an_experiment_has_its_new_name() {
    let line = "f serve --experimental-corrupt-check-time=1m -experimental-pre-vote";
    check(line, &[], "f serve --corrupt-check-time=1m", &[]);
    let old = [("ETCD_EXPERIMENTAL_CORRUPT_CHECK_TIME", "2m")];
    check("f serve", &old, "f serve --corrupt-check-time=2m", &[]);
}

#[test]
fn unknown_variables_are_told() {
    check("f serve", &[("ETCD_NO_SUCH", "x")], "f serve", &["ETCD_NO_SUCH"]);
    check("f serve", &[("FLOTILLA_ENDPOINTS", "x"), ("PATH", "y")], "f serve", &[]);
    check("f dev", &[("ETCD_NAME", "x")], "f dev", &[]);
}

#[test]
fn flags_of_etcd_without_a_meaning_are_taken_off_with_their_values() {
    let line = "f serve --max-wals 7 --name c --logger zap --pre-vote=false --enable-v2";
    check(line, &[], "f serve --name c", &["max-wals=7", "pre-vote=false", "enable-v2=true"]);
    check("f serve", &[("ETCD_MAX_WALS", "9")], "f serve", &["max-wals=9"]);
    let refused = expanded("f serve --discovery http://d/x", &[]).unwrap_err();
    assert!(refused.contains("--initial-cluster"), "{refused}");
}

#[test]
fn variables_of_etcdctl_are_those_of_ctl() {
    let variables = [("ETCDCTL_CACERT", "ca.pem"), ("FLOTILLA_USER", "root:x")];
    check("f ctl get a", &variables, "f ctl --cacert=ca.pem --user=root:x get a", &[]);
    check("f ctl get a --user u", &variables[1..], "f ctl get a --user u", &[]);
    check("f bench put", &[("ETCDCTL_ENDPOINTS", "a:1")], "f bench --endpoints=a:1 put", &[]);
    check("f bench put", &[("ETCDCTL_CACERT", "ca")], "f bench --cacert=ca put", &[]);
}

#[test]
fn a_file_replaces_flags_and_variables() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("etcd.yml");
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    write("name: from-file\nmax-wals: 9\nexperimental-corrupt-check-time: 60000000000\n");
    let expect = "f serve --name=from-file --corrupt-check-time=60000000000ns";
    let line = format!("f serve --name flag --config-file {path}");
    check(&line, &[("ETCD_DATA_DIR", "/a")], expect, &["max-wals=9"]);
    check("f serve", &[("ETCD_CONFIG_FILE", &*path)], expect, &["max-wals=9"]);
    write("no-such-key: 1");
    assert!(expanded(&line, &[]).unwrap_err().contains("no-such-key"));
    write("force-new-cluster: true");
    assert!(expanded(&line, &[]).unwrap_err().contains("force-new-cluster"));
    assert!(expanded("f serve --config-file=/no/such", &[]).unwrap_err().contains("/no/such"));
}

/// Every flag that etcd 3.4, 3.5, 3.6 or 3.7 has, each with a value that it takes there.
const FLAGS_OF_ETCD: &str = include_str!("etcd_flag_list.txt");

#[test]
fn every_flag_of_etcd_is_taken_or_refused_with_a_reason() {
    let flags = serve::flag_names(&Cli::command());
    let mut count = 0;
    for line in FLAGS_OF_ETCD.lines().filter(|line| !line.starts_with('#')) {
        let (flag, value) = line.split_once(' ').unwrap_or((line, "true"));
        for word in [format!("--{flag}={value}"), format!("-{flag}={value}")] {
            count += 1;
            let arguments = ["f", "serve", &word].map(OsString::from).to_vec();
            match expand(arguments, &flags, &BTreeMap::new()) {
                Err(reason) => assert!(reason.contains("is not served"), "{reason}"),
                Ok(expanded) => {
                    let parsed = Cli::try_parse_from(&expanded.arguments);
                    assert!(parsed.is_ok(), "{word}: {}", parsed.unwrap_err());
                    let is_heeded = expanded.arguments.len() == 3;
                    let settled = flag.strip_prefix("experimental-").unwrap_or(flag);
                    let is_known = is_heeded || etcd_flags::is_foreign(settled);
                    assert!(is_known, "{word} is neither heeded nor told of");
                }
            }
        }
    }
    assert!(count > 300, "{count} are fewer than etcd has");
    assert!(Cli::try_parse_from(["f", "serve", "--no-such-flag=1"]).is_err());
}
