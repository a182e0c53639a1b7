//! etcd's configuration file (`--config-file`): YAML, or JSON, with the names of the flags as keys,
//! and certificates in two groups of their own.

use std::fmt::Write as _;

use yaml_rust2::{Yaml, YamlLoader};

/// The two groups, and the flags that their keys are.
const GROUPS: [(&str, &[(&str, &str)]); 2] = [
    (
        "client-transport-security",
        &[
            ("cert-file", "cert-file"),
            ("key-file", "key-file"),
            ("client-cert-file", "client-cert-file"),
            ("client-key-file", "client-key-file"),
            ("client-cert-auth", "client-cert-auth"),
            ("trusted-ca-file", "trusted-ca-file"),
            ("client-crl-file", "client-crl-file"),
            ("crl-file", "client-crl-file"),
            ("auto-tls", "auto-tls"),
            ("allowed-hostname", "client-cert-allowed-hostname"),
            ("allowed-hostnames", "client-cert-allowed-hostname"),
        ],
    ),
    (
        "peer-transport-security",
        &[
            ("cert-file", "peer-cert-file"),
            ("key-file", "peer-key-file"),
            ("client-cert-file", "peer-client-cert-file"),
            ("client-key-file", "peer-client-key-file"),
            ("client-cert-auth", "peer-client-cert-auth"),
            ("trusted-ca-file", "peer-trusted-ca-file"),
            ("crl-file", "peer-crl-file"),
            ("auto-tls", "peer-auto-tls"),
            ("allowed-cn", "peer-cert-allowed-cn"),
            ("allowed-cns", "peer-cert-allowed-cn"),
            ("allowed-hostname", "peer-cert-allowed-hostname"),
            ("allowed-hostnames", "peer-cert-allowed-hostname"),
            ("skip-client-san-verification", "peer-skip-client-san-verification"),
        ],
    ),
];

/// Flags whose value is a duration: the file has them as nanoseconds.
fn is_duration(flag: &str) -> bool {
    let flag = flag.strip_prefix("experimental-").unwrap_or(flag);
    let is_etcds = ["-check-time", "-interval", "-duration"].iter().any(|end| flag.ends_with(end))
        && !["heartbeat-interval", "proxy-refresh-interval"].contains(&flag);
    is_etcds || (flag.starts_with("grpc-keepalive-"))
}

/// Flags and their values, in the order of the file.
///
/// # Errors
/// What is wrong with the text.
pub(crate) fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let documents = YamlLoader::load_from_str(text).map_err(|error| error.to_string())?;
    let Some(root) = documents.first().filter(|root| !root.is_null()) else {
        return Ok(Vec::new());
    };
    let root = root.as_hash().ok_or("it is no list of keys and values")?;
    let mut flags = Vec::new();
    for (key, value) in root {
        let key = key.as_str().ok_or("a key is no text")?;
        match GROUPS.iter().find(|(group, _)| *group == key) {
            Some((group, keys)) => add_group(group, keys, value, &mut flags)?,
            None => add(key, value, &mut flags)?,
        }
    }
    Ok(flags)
}

fn add_group(
    group: &str,
    keys: &[(&str, &str)],
    value: &Yaml,
    flags: &mut Vec<(String, String)>,
) -> Result<(), String> {
    if value.is_null() {
        return Ok(());
    }
    let members = value.as_hash().ok_or_else(|| format!("{group} has no keys of its own"))?;
    for (key, value) in members {
        let key = key.as_str().ok_or("a key is no text")?;
        let known = keys.iter().find(|(known, _)| *known == key);
        let (_, flag) = known.ok_or_else(|| format!("{group}: there is no key {key}"))?;
        add(flag, value, flags)?;
    }
    Ok(())
}

fn add(flag: &str, value: &Yaml, flags: &mut Vec<(String, String)>) -> Result<(), String> {
    if value.is_null() {
        return Ok(());
    }
    let text = text(value).ok_or_else(|| format!("{flag}: write one value, or a list of them"))?;
    let is_nanoseconds = is_duration(flag) && value.as_i64().is_some();
    let unit = if is_nanoseconds { "ns" } else { "" };
    flags.push((flag.to_owned(), text + unit));
    Ok(())
}

/// A value as it would stand on the command line.
fn text(value: &Yaml) -> Option<String> {
    Some(match value {
        Yaml::String(text) | Yaml::Real(text) => text.clone(),
        Yaml::Integer(number) => number.to_string(),
        Yaml::Boolean(value) => value.to_string(),
        Yaml::Array(values) => {
            let texts: Option<Vec<String>> = values.iter().map(text).collect();
            texts?.join(",")
        }
        // Feature gates, as a mapping.
        Yaml::Hash(values) => {
            let mut all = String::new();
            for (key, value) in values {
                let separator = if all.is_empty() { "" } else { "," };
                write!(all, "{separator}{}={}", key.as_str()?, text(value)?).ok()?;
            }
            all
        }
        Yaml::Null | Yaml::Alias(_) | Yaml::BadValue => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[(&str, &str)]) {
        let flags = parse(text).unwrap();
        let flags: Vec<(&str, &str)> =
            flags.iter().map(|(flag, value)| (&**flag, &**value)).collect();
        assert_eq!(flags, expect);
    }

    #[test]
    fn keys_are_flags_and_groups_are_certificates() {
        check(
            "# a comment\nname: 'n1'\nheartbeat-interval: 100\nquota-backend-bytes: -1\n\
             watch-progress-notify-interval: 60000000000\nauto-compaction-retention: \"1\"\n\
             log-outputs: [stderr, default]\nwal-dir:\nclient-transport-security:\n  \
             cert-file: a.pem\n  client-cert-auth: true\npeer-transport-security:\n  \
             cert-file: b.pem\n  allowed-cn: x\n",
            &[
                ("name", "n1"),
                ("heartbeat-interval", "100"),
                ("quota-backend-bytes", "-1"),
                ("watch-progress-notify-interval", "60000000000ns"),
                ("auto-compaction-retention", "1"),
                ("log-outputs", "stderr,default"),
                ("cert-file", "a.pem"),
                ("client-cert-auth", "true"),
                ("peer-cert-file", "b.pem"),
                ("peer-cert-allowed-cn", "x"),
            ],
        );
        check("{\"name\": \"j\", \"pre-vote\": true}", &[("name", "j"), ("pre-vote", "true")]);
        check("", &[]);
    }

    #[test]
    fn what_is_no_configuration_is_told() {
        assert!(parse("just words").is_err());
        assert!(parse("a: [1").is_err());
        assert!(parse("client-transport-security:\n  no-such: 1").unwrap_err().contains("no-such"));
        assert!(parse("peer-transport-security: 1").is_err());
    }
}
