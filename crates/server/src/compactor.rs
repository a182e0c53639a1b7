//! Compaction by itself (`--auto-compaction-mode`, `--auto-compaction-retention`), as etcd's: the
//! leader drops history that is older than a time, or than a number of revisions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use env::Moment;
use store::{Command, CompactRequest, RequestError};

use crate::api_error::ApiError;
use crate::member::Member;

/// Between two compactions by revision.
const BY_REVISION_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Between two compactions by time, if as much is to be kept or more.
const BY_TIME_INTERVAL_MAX: Duration = Duration::from_secs(3600);
/// Looks at the revision between two compactions by time.
const LOOKS: u32 = 10;

/// What is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    /// The history of so long.
    Periodic(Duration),
    /// So many revisions.
    Revision(i64),
}

impl AutoCompaction {
    /// What the two flags say; `None` for nothing to be done.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(mode: &str, retention: &str) -> Result<Option<Self>, &'static str> {
        let retention = retention.trim();
        let number: Option<u64> = retention.parse().ok();
        if number == Some(0) || retention.is_empty() {
            return Ok(None);
        }
        match (mode, number) {
            ("revision", Some(number)) => {
                let revisions =
                    i64::try_from(number).map_err(|_| "it is more than there can be")?;
                Ok(Some(Self::Revision(revisions)))
            }
            ("revision", None) => Err("write a number of revisions"),
            // Without a unit it is hours.
            ("" | "periodic", Some(hours)) => hours
                .checked_mul(3600)
                .map(|secs| Some(Self::Periodic(Duration::from_secs(secs))))
                .ok_or("it is longer than time"),
            ("" | "periodic", None) => {
                let length = duration(retention).ok_or("write a duration such as 1h or 30m")?;
                Ok((!length.is_zero()).then_some(Self::Periodic(length)))
            }
            _ => Err("the mode is periodic or revision"),
        }
    }
}

/// `72h`, `1h30m`, `10s`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut secs = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, behind) = rest.split_at(digits);
        let unit_ends = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit_ends);
        let unit = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        };
        secs = secs.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
        rest = behind;
    }
    Some(Duration::from_secs(secs))
}

/// Says when what is to be compacted.
#[derive(Debug)]
struct Schedule {
    keep: AutoCompaction,
    /// Revisions as they were, newest last.
    seen: VecDeque<(Moment, i64)>,
    compacted: i64,
}

impl Schedule {
    fn new(keep: AutoCompaction) -> Self {
        Self { keep, seen: VecDeque::new(), compacted: 0 }
    }

    /// Between two looks.
    fn interval(&self) -> Duration {
        match self.keep {
            AutoCompaction::Periodic(length) => length.min(BY_TIME_INTERVAL_MAX) / LOOKS,
            AutoCompaction::Revision(_) => BY_REVISION_INTERVAL,
        }
    }

    /// Up to where history can go, if there is something new to go.
    fn look(&mut self, now: Moment, revision: i64) -> Option<i64> {
        let upto = match self.keep {
            AutoCompaction::Revision(count) => revision - count,
            AutoCompaction::Periodic(length) => {
                self.seen.push_back((now, revision));
                let mut old = None;
                while self.seen.front().is_some_and(|(at, _)| now.since(*at) >= length) {
                    old = self.seen.pop_front();
                }
                old?.1
            }
        };
        (upto > self.compacted && upto > 0).then_some(upto)
    }
}

/// Compacts while this member leads; runs until the server goes away.
pub(crate) async fn run(member: Arc<Member>, keep: AutoCompaction) {
    let stopping = Arc::clone(&member);
    let stopping = stopping.stopping();
    tokio::pin!(stopping);
    let mut schedule = Schedule::new(keep);
    loop {
        tokio::select! {
            () = &mut stopping => return,
            () = tokio::time::sleep(schedule.interval()) => {}
        }
        let Some(revision) = schedule.look(member.clock.now(), member.store.revision()) else {
            continue;
        };
        // Every member looks, so that one that comes to lead knows how old revisions are.
        let Some(term) = member.leadership.leads_in() else { continue };
        let command = Command::Compact(CompactRequest { revision, physical: false });
        match member.propose_as_leader(term, &command).await {
            Ok(_) => {
                schedule.compacted = revision;
                tracing::info!(revision, "history before this revision was compacted");
            }
            Err(ApiError::Request(RequestError::Compacted)) => schedule.compacted = revision,
            Err(error) => tracing::warn!(?error, revision, "history was not compacted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_read_as_etcd_reads_them() {
        let check = |mode, retention, expect| {
            assert_eq!(AutoCompaction::parse(mode, retention), expect, "{mode} {retention}");
        };
        let hours =
            |count: u64| Ok(Some(AutoCompaction::Periodic(Duration::from_secs(count * 3600))));
        check("periodic", "0", Ok(None));
        check("periodic", "", Ok(None));
        check("revision", "0", Ok(None));
        check("periodic", "1", hours(1));
        check("", "8", hours(8));
        check("periodic", "72h", hours(72));
        let minutes = Ok(Some(AutoCompaction::Periodic(Duration::from_secs(5400))));
        check("periodic", "1h30m", minutes);
        check("revision", "1000", Ok(Some(AutoCompaction::Revision(1000))));
        assert!(AutoCompaction::parse("revision", "1h").is_err());
        assert!(AutoCompaction::parse("periodic", "soon").is_err());
        assert!(AutoCompaction::parse("weekly", "1").is_err());
    }

    fn at(secs: u64) -> Moment {
        Moment::default().after(Duration::from_secs(secs))
    }

    #[test]
    fn history_of_the_given_time_is_kept() {
        let mut schedule = Schedule::new(AutoCompaction::Periodic(Duration::from_secs(100)));
        assert_eq!(schedule.interval(), Duration::from_secs(10));
        for step in 0..10 {
            let revision = i64::try_from(step).unwrap() + 5;
            assert_eq!(schedule.look(at(step * 10), revision), None, "nothing is old enough");
        }
        assert_eq!(schedule.look(at(100), 99), Some(5));
        assert_eq!(schedule.look(at(115), 99), Some(6));
        schedule.compacted = 8;
        assert_eq!(schedule.look(at(130), 99), None, "somebody compacted more");
    }

    #[test]
    fn the_given_number_of_revisions_is_kept() {
        let mut schedule = Schedule::new(AutoCompaction::Revision(100));
        assert_eq!(schedule.look(at(0), 50), None);
        assert_eq!(schedule.look(at(1), 150), Some(50));
        schedule.compacted = 50;
        assert_eq!(schedule.look(at(2), 150), None);
    }
}
