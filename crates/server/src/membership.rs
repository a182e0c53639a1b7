//! The members of the cluster, and what etcd checks before it changes them.
//!
//! One list of members exists, the configuration in the Raft log, with names and addresses in it
//! ([`host::MemberAttributes`]). The checks are made against the leader's own view of it, and the
//! change is refused if another one came between ([`ConfigurationChange::expected`]).
//!
//! A member that is added to vote joins as a learner and is promoted by the leader once it holds
//! the log: so adding one never costs the cluster its majority, not even a cluster of one. Clients
//! are shown it as a voter from the beginning, as etcd's are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use api::etcdserverpb as pb;
use host::{Goal, GroupConfiguration, GroupReport, MemberAttributes};
use raft::{Configuration, ConfigurationChange, LogIndex, MemberChange, NodeId, ReadMode};
use store::Principal;
use tokio::sync::oneshot;

use crate::api_error::ApiError;
use crate::audit;
use crate::member::{Member, tell};
use crate::plan::texts;
use crate::url::HttpUrl;

/// Learners at a time, as in etcd.
const LEARNERS_MAX: usize = 1;
/// Between two looks at a cluster whose members another client has just changed.
const CONFLICT_RETRY: Duration = Duration::from_millis(50);

/// What an operator wants.
#[derive(Clone, Debug)]
pub(crate) enum MemberOp {
    /// Another member; `id` is new.
    Add { id: NodeId, peer_urls: Vec<String>, goal: Goal },
    /// One less.
    Remove(NodeId),
    /// Other addresses.
    Update { id: NodeId, peer_urls: Vec<String> },
    /// A vote for a learner.
    Promote(NodeId),
}

/// As the log says it.
impl fmt::Display for MemberOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add { id, peer_urls, goal } => {
                let urls = peer_urls.join(",");
                match goal {
                    Goal::Vote => write!(f, "member {:x} added at {urls}", id.0),
                    Goal::Learn => write!(f, "learner {:x} added at {urls}", id.0),
                    Goal::Replace(old) => {
                        write!(f, "member {:x} added at {urls} in the place of {:x}", id.0, old.0)
                    }
                }
            }
            Self::Remove(id) => write!(f, "member {:x} removed", id.0),
            Self::Update { id, peer_urls } => {
                write!(f, "member {:x} reached at {}", id.0, peer_urls.join(","))
            }
            Self::Promote(id) => write!(f, "learner {:x} promoted", id.0),
        }
    }
}

/// The members as clients are shown them.
#[derive(Debug)]
pub(crate) struct Roster<'a> {
    configuration: &'a Configuration,
    attributes: BTreeMap<NodeId, MemberAttributes>,
}

impl<'a> Roster<'a> {
    pub(crate) fn new(configuration: &'a Configuration) -> Self {
        // Who votes in C_old alone is on its way out.
        let members = configuration.voters.iter().chain(&configuration.learners);
        let attributes = members.map(|id| (*id, MemberAttributes::of(configuration, *id)));
        Self { configuration, attributes: attributes.collect() }
    }

    fn contains(&self, id: NodeId) -> bool {
        self.attributes.contains_key(&id)
    }

    /// A learner that is on its way to a vote counts as a voter.
    fn is_learner(&self, id: NodeId) -> bool {
        let goal = self.attributes.get(&id).map_or(Goal::Learn, |attributes| attributes.goal);
        self.configuration.learners.contains(&id) && goal == Goal::Learn
    }

    fn voters(&self) -> impl Iterator<Item = (NodeId, &MemberAttributes)> {
        let all = self.attributes.iter().map(|(id, attributes)| (*id, attributes));
        all.filter(|(id, _)| !self.is_learner(*id))
    }

    fn learner_count(&self) -> usize {
        self.attributes.keys().filter(|id| self.is_learner(**id)).count()
    }

    /// The addresses of all members but one.
    fn peer_urls_beside(&self, id: NodeId) -> BTreeSet<&str> {
        let others = self.attributes.iter().filter(|(other, _)| **other != id);
        others.flat_map(|(_, known)| &known.peer_urls).map(String::as_str).collect()
    }

    /// Voters, and those of them that have started, without `id`.
    fn count_voters_beside(&self, id: Option<NodeId>) -> (usize, usize) {
        let voters = self.voters().filter(|(voter, _)| Some(*voter) != id);
        voters.fold((0, 0), |(all, started), (_, attributes)| {
            (all + 1, started + usize::from(!attributes.name.is_empty()))
        })
    }
}

/// The checks of one operation, in etcd's order.
struct Checks<'a> {
    report: &'a GroupReport,
    roster: Roster<'a>,
    /// A member that was not heard for so long is not there.
    silence_max: Duration,
    /// Otherwise nobody has to be there: `--strict-reconfig-check=false`.
    is_strict: bool,
}

impl Checks<'_> {
    fn is_heard(&self, id: NodeId) -> bool {
        let silent_ms = self.report.member(id).and_then(|member| member.silent_ms);
        silent_ms.is_some_and(|silent| Duration::from_millis(silent) < self.silence_max)
    }

    /// `members` voters, of which `started` have started: enough to agree on anything?
    fn started(&self, members: usize, started: usize) -> Result<(), ApiError> {
        if self.is_strict && started < members / 2 + 1 {
            Err(ApiError::NotEnoughStarted)
        } else {
            Ok(())
        }
    }

    fn all_heard(&self, beside: Option<NodeId>) -> Result<(), ApiError> {
        let mut others = self.roster.voters().filter(|(voter, _)| Some(*voter) != beside);
        let all = others.all(|(id, _)| self.is_heard(id));
        if all || !self.is_strict { Ok(()) } else { Err(ApiError::Unhealthy) }
    }

    /// A leader of this moment has heard nobody yet; soon it knows more. Not if one that it has
    /// heard is gone.
    fn may_soon_hear_all(&self) -> bool {
        let is_open = |id| self.report.member(id).is_none_or(|member| member.silent_ms.is_none());
        let mut voters = self.roster.voters();
        let is_anybody_gone = voters.any(|(id, _)| !self.is_heard(id) && !is_open(id));
        !is_anybody_gone && self.roster.attributes.keys().any(|id| is_open(*id))
    }

    fn add(&self, id: NodeId, peer_urls: &[String], goal: Goal) -> Result<(), ApiError> {
        if goal == Goal::Vote {
            let (members, started) = self.roster.count_voters_beside(None);
            // A second member for a cluster of one has to be possible.
            if (members, started) != (1, 1) {
                self.started(members + 1, started)?;
            }
        }
        if let Goal::Replace(old) = goal {
            if !self.roster.contains(old) || self.roster.is_learner(old) {
                return Err(ApiError::MemberNotFound);
            }
            // The one that is replaced need not be there.
            self.all_heard(Some(old))?;
        } else {
            self.all_heard(None)?;
        }
        self.peer_urls(id, peer_urls)?;
        if goal == Goal::Learn && self.roster.learner_count() >= LEARNERS_MAX {
            return Err(ApiError::TooManyLearners);
        }
        Ok(())
    }

    fn peer_urls(&self, id: NodeId, peer_urls: &[String]) -> Result<(), ApiError> {
        let taken = self.roster.peer_urls_beside(id);
        if peer_urls.iter().any(|url| taken.contains(url.as_str())) {
            return Err(ApiError::PeerUrlExists);
        }
        Ok(())
    }

    fn known(&self, id: NodeId) -> Result<(), ApiError> {
        if self.roster.contains(id) { Ok(()) } else { Err(ApiError::MemberNotFound) }
    }

    fn remove(&self, id: NodeId) -> Result<(), ApiError> {
        if self.roster.is_learner(id) {
            return Ok(());
        }
        let (members, started) = self.roster.count_voters_beside(Some(id));
        self.started(members, started)?;
        self.known(id)?;
        // One that is down is no part of any majority that agrees now.
        if !self.is_heard(id) || !self.is_strict {
            return Ok(());
        }
        let others = self.roster.voters().filter(|(voter, _)| *voter != id);
        let heard = others.filter(|(voter, _)| self.is_heard(*voter)).count();
        if heard < members / 2 + 1 { Err(ApiError::Unhealthy) } else { Ok(()) }
    }

    fn update(&self, id: NodeId, peer_urls: &[String]) -> Result<(), ApiError> {
        self.known(id)?;
        self.peer_urls(id, peer_urls)
    }

    fn promote(&self, id: NodeId) -> Result<(), ApiError> {
        self.known(id)?;
        if !self.roster.is_learner(id) {
            return Err(ApiError::NotLearner);
        }
        // The leader looks whether it is in sync when it makes the change.
        let (members, started) = self.roster.count_voters_beside(None);
        self.started(members + 1, started + 1)
    }

    fn change(&self, op: &MemberOp) -> Result<ConfigurationChange, ApiError> {
        let (member, attributes) = match op {
            MemberOp::Add { id, peer_urls, goal } => {
                self.add(*id, peer_urls, *goal)?;
                let attributes = MemberAttributes {
                    goal: *goal,
                    peer_urls: peer_urls.clone(),
                    ..MemberAttributes::default()
                };
                (Some(MemberChange::AddLearner(*id)), Some((*id, attributes)))
            }
            MemberOp::Remove(id) => {
                self.remove(*id)?;
                (Some(MemberChange::Remove(*id)), None)
            }
            MemberOp::Update { id, peer_urls } => {
                self.update(*id, peer_urls)?;
                let known = MemberAttributes::of(self.roster.configuration, *id);
                let attributes = MemberAttributes { peer_urls: peer_urls.clone(), ..known };
                (None, Some((*id, attributes)))
            }
            MemberOp::Promote(id) => {
                self.promote(*id)?;
                (Some(MemberChange::Promote(*id)), None)
            }
        };
        Ok(ConfigurationChange {
            members: member.into_iter().collect(),
            attributes: attributes
                .into_iter()
                .map(|(id, attributes)| (id, attributes.encode()))
                .collect(),
            expected: Some(self.report.configuration.configuration.clone()),
            ..ConfigurationChange::default()
        })
    }
}

/// Refused for the sake of members that are not there, or were not heard yet.
fn is_for_want_of_members(error: &ApiError) -> bool {
    use raft::ChangeError::{LearnerLags, WouldStall};
    matches!(
        error,
        ApiError::Unhealthy
            | ApiError::Change(host::ChangeError::Refused(WouldStall { .. } | LearnerLags { .. }))
    )
}

impl Member {
    /// Checks and makes a change of the members; returns the members that it led to.
    pub(crate) async fn change_members(
        &self,
        who: Option<&Principal>,
        op: MemberOp,
    ) -> Result<Vec<pb::Member>, ApiError> {
        // For an election timeout.
        let mut patience = self.limits.election_timeout.as_millis() / CONFLICT_RETRY.as_millis();
        let attempts = async {
            loop {
                let report = self.report().await?;
                let roster = Roster::new(&report.configuration.configuration);
                let silence_max = self.limits.election_timeout;
                let is_strict = self.limits.strict_reconfig_check;
                let checks = Checks { report: &report, roster, silence_max, is_strict };
                let may_wait = patience > 0 && checks.may_soon_hear_all();
                let done = match checks.change(&op) {
                    Ok(change) => self.change_configuration(change).await,
                    Err(error) => Err(error),
                };
                match done {
                    Ok(led_to) => {
                        self.wait_until_here(led_to.index).await;
                        return Ok(self.wire_members(&led_to.configuration));
                    }
                    Err(error) if is_for_want_of_members(&error) && may_wait => patience -= 1,
                    // Somebody else was quicker: the checks are made again.
                    Err(ApiError::Change(host::ChangeError::Refused(
                        raft::ChangeError::Unexpected { .. },
                    ))) => {}
                    Err(error) => return Err(error),
                }
                tokio::time::sleep(CONFLICT_RETRY).await;
            }
        };
        let done = tokio::time::timeout(self.limits.request_timeout, Box::pin(attempts)).await;
        audit::note(who, &op.to_string(), done.unwrap_or(Err(ApiError::TimedOut)))
    }

    /// Whoever asks this member next sees the change that it has just answered, as with etcd. One
    /// that is made here and removes this very member may never be heard of here, and is true all
    /// the same.
    async fn wait_until_here(&self, index: LogIndex) {
        let (reply, answer) = oneshot::channel();
        let mode = ReadMode::AfterWrite { index, term: None };
        self.group.read(mode, move |result| tell(reply, result));
        let _late = tokio::time::timeout(self.limits.election_timeout, answer).await;
    }

    pub(crate) async fn report(&self) -> Result<GroupReport, ApiError> {
        let (reply, answer) = oneshot::channel();
        self.group.report(move |result| tell(reply, result));
        Ok(answer.await.map_err(|_| ApiError::Stopped)??)
    }

    pub(crate) async fn change_configuration(
        &self,
        change: ConfigurationChange,
    ) -> Result<GroupConfiguration, ApiError> {
        let (reply, answer) = oneshot::channel();
        self.group.change_configuration(change, move |result| tell(reply, result));
        Ok(answer.await.map_err(|_| ApiError::Stopped)??)
    }

    /// The members that this member knows of.
    pub(crate) fn members(&self) -> Vec<pb::Member> {
        self.wire_members(&self.group.committed_configuration().configuration)
    }

    fn wire_members(&self, configuration: &Configuration) -> Vec<pb::Member> {
        let roster = Roster::new(configuration);
        let member = |(id, attributes): (&NodeId, &MemberAttributes)| {
            let attributes = self.with_seed(*id, attributes.clone());
            pb::Member {
                id: id.0,
                name: attributes.name,
                peer_ur_ls: attributes.peer_urls,
                client_ur_ls: attributes.client_urls,
                is_learner: roster.is_learner(*id),
            }
        };
        roster.attributes.iter().map(member).collect()
    }

    /// A cluster that was made by an earlier version has no addresses in its configuration until
    /// its members have published them.
    pub(crate) fn with_seed(
        &self,
        id: NodeId,
        mut attributes: MemberAttributes,
    ) -> MemberAttributes {
        if attributes.peer_urls.is_empty()
            && let Some(seed) = self.identity.cluster.members.get(&id)
        {
            attributes.peer_urls = texts(&seed.peer_urls);
            attributes.name.clone_from(&seed.name);
        }
        attributes
    }

    /// An id that nobody has or had: as good as certain by its length.
    pub(crate) fn new_member_id(&self) -> NodeId {
        let known = self.group.configuration();
        loop {
            let id = NodeId(self.entropy.next_u64());
            if id.0 != 0 && !known.configuration.contains(id) {
                return id;
            }
        }
    }
}

/// Addresses from a request, in one form.
pub(crate) fn parse_peer_urls(urls: &[String]) -> Result<Vec<String>, ApiError> {
    let parsed: Result<BTreeSet<HttpUrl>, _> = urls.iter().map(|url| HttpUrl::parse(url)).collect();
    match parsed {
        Ok(urls) if !urls.is_empty() => Ok(urls.iter().map(ToString::to_string).collect()),
        Ok(_) | Err(_) => Err(ApiError::MemberBadUrls),
    }
}

#[cfg(test)]
mod tests;
