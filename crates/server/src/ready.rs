//! From started to ready: a member finds its leader, catches up, and tells the cluster its name and
//! where clients reach it.
//!
//! It is ready when that is committed, as etcd's members are, and when its leader has put its log
//! on record: from then on it cannot lose its data folder without the cluster's notice, but for
//! [`raft::Status::unguarded`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use host::{GroupConfiguration, MemberAttributes};
use raft::{ConfigurationChange, LeaseChange, LeaseClock, LeaseTerms};

use crate::api_error::ApiError;
use crate::member::{Member, Phase};
use crate::options::LinearizableReads;

/// Of two clocks one may run so many parts in a million faster: far more than crystals do.
const CLOCK_DRIFT_PPM: u32 = 10_000;
/// Between two attempts to tell the cluster about this member.
const PUBLISH_RETRY: Duration = Duration::from_millis(100);

impl Member {
    /// Tells the cluster this member's name and how clients reach it, if it does not know. Whether
    /// it now knows that, and this member's log.
    async fn publish(self: &Arc<Self>) -> Result<bool, ApiError> {
        self.read_barrier().await?;
        let known = self.group.configuration();
        let id = self.identity.member_id;
        let before = MemberAttributes::of(&known.configuration, id);
        let after = MemberAttributes {
            name: self.identity.name.clone(),
            client_urls: self.client_urls.clone(),
            ..self.with_seed(id, before.clone())
        };
        if before == after {
            return Ok(self.is_on_record(&known));
        }
        let change = ConfigurationChange {
            attributes: BTreeMap::from([(id, after.encode())]),
            expected: Some(known.configuration.clone()),
            ..ConfigurationChange::default()
        };
        let led_to = self.change_configuration(change).await?;
        Ok(self.is_on_record(&led_to))
    }

    fn is_on_record(&self, known: &GroupConfiguration) -> bool {
        let recorded = known.configuration.incarnations.get(&self.identity.member_id);
        known.is_committed && recorded == Some(&self.group.incarnation())
    }
}

/// Makes the cluster's terms of leases in the log those that this member's options ask for. They
/// are in the configuration, so that all members have the same.
async fn settle_leases(member: &Member, reads: LinearizableReads) -> Result<(), ApiError> {
    member.read_barrier().await?;
    let known = member.group.configuration();
    let lease = match (reads, known.configuration.lease) {
        (LinearizableReads::LeaseGuard, None) => {
            let duration = member.limits.election_timeout.as_micros();
            LeaseChange::Set(LeaseTerms {
                duration_us: u64::try_from(duration).unwrap_or(u64::MAX),
                drift_ppm: CLOCK_DRIFT_PPM,
                clock: LeaseClock::Monotonic,
            })
        }
        (LinearizableReads::ReadIndex, Some(_)) => LeaseChange::End,
        (LinearizableReads::LeaseGuard, Some(_)) | (LinearizableReads::ReadIndex, None) => {
            return Ok(());
        }
    };
    let expected = Some(known.configuration.clone());
    let change = ConfigurationChange { lease, expected, ..ConfigurationChange::default() };
    member.change_configuration(change).await?;
    tracing::info!(?reads, "the cluster's terms of leases in the log were changed");
    Ok(())
}

/// Waits for a leader, catches up, and tells the cluster how clients reach this member.
pub(crate) async fn get_ready(member: Arc<Member>, reads: Option<LinearizableReads>) {
    loop {
        member.leadership.wait_for_leader().await;
        match member.publish().await {
            Ok(true) => break,
            Ok(false) => tracing::debug!("not ready yet: the cluster does not know this log"),
            Err(error) => tracing::debug!(?error, "not ready yet"),
        }
        tokio::time::sleep(PUBLISH_RETRY).await;
    }
    let became_ready = member.phase.send_if_modified(|phase| {
        let starting = *phase == Phase::Starting;
        if starting {
            *phase = Phase::Ready;
        }
        starting
    });
    if became_ready {
        tracing::info!(
            name = member.identity.name,
            member_id = format_args!("{:x}", member.id()),
            cluster_id = format_args!("{:x}", member.identity.cluster.id),
            client_urls = member.client_urls.join(","),
            "ready to serve client requests"
        );
    }
    let Some(reads) = reads else { return };
    while let Err(error) = settle_leases(&member, reads).await {
        tracing::debug!(?error, "the terms of leases are not settled yet");
        tokio::time::sleep(PUBLISH_RETRY).await;
    }
}
