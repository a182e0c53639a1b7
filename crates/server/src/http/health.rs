//! `/health` of old, and `/livez` and `/readyz` with their checks by name.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use host::MemberAttributes;
use store::AlarmKind;

use crate::member::Member;

/// Keys and values of a query, in order. Values that Kubernetes and people send need no decoding.
fn query_pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn excluded(query: &str) -> Vec<&str> {
    query_pairs(query).filter(|(key, _)| *key == "exclude").map(|(_, value)| value).collect()
}

fn is_serializable(query: &str) -> bool {
    query_pairs(query).any(|(key, value)| key == "serializable" && value == "true")
}

/// Reads a key that need not exist, as clients would.
async fn read(member: &Member, serializable: bool) -> Result<(), String> {
    if !serializable {
        member.read_barrier().await.map_err(|error| error.code_and_text().1)?;
    }
    let request = store::RangeRequest {
        key: Bytes::from_static(b"health"),
        serializable,
        limit: 1,
        ..store::RangeRequest::default()
    };
    member.store.range(&request).map(drop).map_err(|error| error.to_string())
}

fn has_alarm(member: &Member, kind: AlarmKind) -> bool {
    member.store.alarms().iter().any(|alarm| alarm.alarm == kind)
}

/// What is wrong, in etcd's words.
async fn sickness(member: &Member, query: &str) -> Result<(), String> {
    let excluded = excluded(query);
    for (kind, name) in [(AlarmKind::NoSpace, "NOSPACE"), (AlarmKind::Corrupt, "CORRUPT")] {
        if has_alarm(member, kind) && !excluded.contains(&name) {
            return Err(format!("ALARM {name}"));
        }
    }
    let serializable = is_serializable(query);
    if !serializable && !member.is_ready() {
        return Err(NOT_PUBLISHED.to_owned());
    }
    if !serializable && !member.leadership.has_leader() {
        return Err("RAFT NO LEADER".to_owned());
    }
    read(member, serializable).await.map_err(|error| format!("RANGE ERROR:{error}"))
}

pub(super) async fn health(
    State(member): State<Arc<Member>>,
    RawQuery(query): RawQuery,
) -> Response {
    let sickness = sickness(&member, query.as_deref().unwrap_or_default()).await;
    let (status, counter) = match &sickness {
        Ok(()) => (StatusCode::OK, &member.metrics.health_success),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, &member.metrics.health_failures),
    };
    counter.add(1);
    let health = if sickness.is_ok() { "true" } else { "false" };
    let reason = sickness.err().unwrap_or_default();
    // The order of the fields is etcd's: scripts compare the whole text.
    let reason = serde_json::Value::String(reason);
    let body = format!("{{\"health\":\"{health}\",\"reason\":{reason}}}");
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

/// As long as it is so, a member of etcd does not answer at all.
const NOT_PUBLISHED: &str =
    "NOT PUBLISHED: the cluster does not know this member's name and log yet";

/// A check with a name of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

const LIVE: &[Check] = &[Check::SerializableRead];
const READY: &[Check] =
    &[Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner];

impl Check {
    fn name(self) -> &'static str {
        match self {
            Self::DataCorruption => "data_corruption",
            Self::SerializableRead => "serializable_read",
            Self::LinearizableRead => "linearizable_read",
            Self::NonLearner => "non_learner",
        }
    }

    async fn run(self, member: &Member) -> Result<(), String> {
        match self {
            Self::DataCorruption if has_alarm(member, AlarmKind::Corrupt) => {
                Err("alarm activated: CORRUPT".to_owned())
            }
            Self::NonLearner if member.group.status().is_learner => {
                Err("the member is a learner".to_owned())
            }
            // The names of the checks are etcd's, whose members do not answer before that.
            Self::LinearizableRead if !member.is_ready() => Err(NOT_PUBLISHED.to_owned()),
            Self::DataCorruption | Self::NonLearner => Ok(()),
            Self::SerializableRead => read(member, true).await,
            Self::LinearizableRead => read(member, false).await,
        }
    }
}

/// Voters that could lose their data folder without anybody noticing. No check: the cluster serves
/// with one of three that has never been up, and this lasts until it is.
async fn unguarded(member: &Member) -> String {
    let Ok(report) = member.report().await else { return String::new() };
    let configuration = &report.configuration.configuration;
    if report.unguarded.is_empty() || configuration.members().nth(1).is_none() {
        return String::new();
    }
    let mut names = String::new();
    for id in &report.unguarded {
        let name = member.with_seed(*id, MemberAttributes::of(configuration, *id)).name;
        write!(names, " {name}({:x})", id.0).expect("writing to a String cannot fail");
    }
    format!("[ ]unguarded{names}: a data folder that is lost now might not be noticed\n")
}

/// Runs checks and writes the page that Kubernetes' components write.
async fn page(member: &Member, of: &str, path: &str, checks: &[Check], query: &str) -> Response {
    let verbose = query_pairs(query).any(|(key, _)| key == "verbose");
    let excluded = excluded(query);
    let mut lines = String::new();
    let mut failed = false;
    let mut line = |text: std::fmt::Arguments<'_>| {
        lines.write_fmt(text).expect("writing to a String cannot fail");
    };
    for check in checks {
        let name = check.name();
        if excluded.contains(&name) {
            line(format_args!("[+]{name} excluded: ok\n"));
            continue;
        }
        let checked = check.run(member).await;
        member.metrics.checks.note(of, name, checked.is_ok());
        match checked {
            Ok(()) => line(format_args!("[+]{name} ok\n")),
            Err(reason) => {
                failed = true;
                line(format_args!("[-]{name} failed: {reason}\n"));
            }
        }
    }
    if verbose && checks.contains(&Check::NonLearner) {
        lines.push_str(&unguarded(member).await);
    }
    if failed {
        let body = format!("{lines}{path} check failed\n");
        return (StatusCode::SERVICE_UNAVAILABLE, body).into_response();
    }
    let body = if verbose { format!("{lines}ok\n") } else { "ok\n".to_owned() };
    (StatusCode::OK, body).into_response()
}

async fn one(member: &Member, of: &str, checks: &[Check], name: &str) -> Response {
    let Some(check) = checks.iter().find(|check| check.name() == name) else {
        return (StatusCode::NOT_FOUND, "there is no such check\n").into_response();
    };
    page(member, of, name, &[*check], "").await
}

pub(super) async fn livez(
    State(member): State<Arc<Member>>,
    RawQuery(query): RawQuery,
) -> Response {
    page(&member, "livez", "livez", LIVE, query.as_deref().unwrap_or_default()).await
}

pub(super) async fn readyz(
    State(member): State<Arc<Member>>,
    RawQuery(query): RawQuery,
) -> Response {
    page(&member, "readyz", "readyz", READY, query.as_deref().unwrap_or_default()).await
}

pub(super) async fn livez_check(
    State(member): State<Arc<Member>>,
    Path(check): Path<String>,
) -> Response {
    one(&member, "livez", LIVE, &check).await
}

pub(super) async fn readyz_check(
    State(member): State<Arc<Member>>,
    Path(check): Path<String>,
) -> Response {
    one(&member, "readyz", READY, &check).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_may_exclude_several_checks() {
        assert_eq!(excluded("exclude=NOSPACE&serializable=true"), ["NOSPACE"]);
        assert_eq!(excluded("exclude=a&verbose&exclude=b"), ["a", "b"]);
        assert!(excluded("").is_empty());
        assert!(is_serializable("exclude=NOSPACE&serializable=true"));
        assert!(!is_serializable("serializable=false"));
    }
}
