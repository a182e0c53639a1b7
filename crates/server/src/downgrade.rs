//! Downgrades, as etcd has them: an operator says that the cluster goes one minor version down, and
//! from then on it calls itself a cluster of that version, until the downgrade is cancelled. There
//! is no older version of this program that would read other files, so nothing else changes: see
//! `docs/differences.md`.

use std::sync::Arc;

use api::etcdserverpb::downgrade_request::DowngradeAction;
use api::etcdserverpb::{DowngradeInfo, DowngradeRequest};
use store::{ClusterVersion, Command, Principal, Store};

use crate::api_error::ApiError;
use crate::member::Member;
use crate::version::ETCD_CLUSTER_VERSION;

/// What the cluster calls itself, with a patch of 0 as etcd does.
pub(crate) fn cluster_version(store: &Store) -> String {
    version_text(store.downgrade())
}

/// The same, of a cluster that may be on its way down.
pub(crate) fn version_text(target: Option<ClusterVersion>) -> String {
    target.map_or_else(|| ETCD_CLUSTER_VERSION.to_owned(), with_patch)
}

/// The downgrade under way, for a member's status.
pub(crate) fn info(store: &Store) -> DowngradeInfo {
    let target = store.downgrade();
    let target_version = target.map(with_patch).unwrap_or_default();
    DowngradeInfo { enabled: target.is_some(), target_version }
}

/// Does what is asked; the answer is the version that the cluster had before.
pub(crate) async fn ask(
    member: &Arc<Member>,
    who: Option<&Principal>,
    request: &DowngradeRequest,
) -> Result<String, ApiError> {
    let action =
        DowngradeAction::try_from(request.action).map_err(|_| ApiError::UnknownDowngradeAction)?;
    // etcd looks at the words before it looks at anything else.
    let target = match action {
        DowngradeAction::Validate | DowngradeAction::Enable => {
            Some(parse(&request.version).ok_or(ApiError::DowngradeFormat)?)
        }
        DowngradeAction::Cancel => None,
    };
    member.read_barrier().await?;
    let before = current(&member.store);
    match target {
        Some(target) if Some(target) != below(before) => return Err(ApiError::DowngradeTarget),
        Some(_) if member.store.downgrade().is_some() => return Err(ApiError::DowngradeInProgress),
        None if member.store.downgrade().is_none() => return Err(ApiError::NoDowngrade),
        Some(_) | None => {}
    }
    if action != DowngradeAction::Validate {
        member.propose_as(who, &Command::Downgrade { target }).await?;
    }
    Ok(format!("{}.{}", before.major, before.minor))
}

fn current(store: &Store) -> ClusterVersion {
    parse(&cluster_version(store)).expect("the own version is one: a test reads it")
}

fn with_patch(version: ClusterVersion) -> String {
    format!("{}.{}.0", version.major, version.minor)
}

/// One minor version down is as far as a downgrade goes.
fn below(version: ClusterVersion) -> Option<ClusterVersion> {
    version.minor.checked_sub(1).map(|minor| ClusterVersion { minor, ..version })
}

/// A version with or without a patch, a pre-release and a build, which do not count.
fn parse(text: &str) -> Option<ClusterVersion> {
    let (text, build) = split_off(text, '+');
    let (text, pre_release) = split_off(text, '-');
    let is_word = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let is_sound = |words: Option<&str>| {
        words.is_none_or(|words| words.split('.').all(|part| !part.is_empty() && is_word(part)))
    };
    let number = |text: &str| {
        let is_number = text.bytes().all(|digit| digit.is_ascii_digit());
        if is_number { text.parse::<u32>().ok() } else { None }
    };
    let numbers: Vec<Option<u32>> = text.split('.').map(number).collect();
    match numbers[..] {
        [Some(major), Some(minor)] if pre_release.is_none() && build.is_none() => {
            Some(ClusterVersion { major, minor })
        }
        [Some(major), Some(minor), Some(_)] if is_sound(pre_release) && is_sound(build) => {
            Some(ClusterVersion { major, minor })
        }
        _ => None,
    }
}

fn split_off(text: &str, mark: char) -> (&str, Option<&str>) {
    text.split_once(mark).map_or((text, None), |(text, rest)| (text, Some(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_two_or_three_numbers() {
        let check = |text: &str, expect: Option<(u32, u32)>| {
            let expect = expect.map(|(major, minor)| ClusterVersion { major, minor });
            assert_eq!(parse(text), expect, "{text}");
        };
        check("3.5", Some((3, 5)));
        check("3.5.0", Some((3, 5)));
        check("3.5.17-rc.0+build.7", Some((3, 5)));
        check(ETCD_CLUSTER_VERSION, Some((3, 6)));
        for text in
            ["", "3", "v3.5", "3.5.0.0", "3.", "3.x", "3.5.0-", "3.5-rc", "3.-5", "4294967296.0.0"]
        {
            check(text, None);
        }
    }

    #[test]
    fn one_minor_version_down_and_no_further() {
        let version = |major, minor| ClusterVersion { major, minor };
        assert_eq!(below(version(3, 6)), Some(version(3, 5)));
        assert_eq!(below(version(4, 0)), None);
    }
}
