//! The first start of a member asks the cluster about itself: one that joins learns its id from the
//! others, and one that is known to have run before has lost its disk.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use host::transport::{KnownCluster, PeerTls, ask_members};
use host::{GroupId, MemberAttributes};
use raft::{Configuration, NodeId};

use crate::identity::Identity;
use crate::plan::{Cluster, Seed, texts};
use crate::url::HttpUrl;

const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// The member that is asked may not have heard yet of what another has acknowledged.
const ATTEMPTS: u32 = 20;
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(250);

/// The code of a member that has lost its data.
pub(crate) const DATA_LOST_EXIT_CODE: u8 = 19;

/// Why a member without data does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinFault {
    /// The cluster that the member is to join does not know it.
    NotAMember {
        /// The member's name.
        name: String,
        /// Where it would be reached.
        peer_urls: Vec<String>,
    },
    /// Nobody of the cluster that the member is to join answers.
    NoMemberAnswers {
        /// Who was asked.
        asked: Vec<String>,
    },
    /// The folder is empty, and the cluster has seen this member run: it has forgotten its votes
    /// and what it acknowledged.
    DataLost {
        /// The member's name.
        name: String,
        /// The member.
        member_id: u64,
    },
}

impl JoinFault {
    /// The code that the process ends with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::NotAMember { .. } => 23,
            Self::NoMemberAnswers { .. } => 18,
            Self::DataLost { .. } => DATA_LOST_EXIT_CODE,
        }
    }
}

impl fmt::Display for JoinFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAMember { name, peer_urls } => write!(
                f,
                "the cluster has no member at {}: tell it first, with flotilla ctl member add {name} \
                 --peer-urls={}",
                peer_urls.join(","),
                peer_urls.join(",")
            ),
            Self::NoMemberAnswers { asked } => write!(
                f,
                "no member of the cluster to join answers at {}: are they up, and is \
                 --initial-cluster right?",
                asked.join(",")
            ),
            Self::DataLost { name, member_id } => write_data_lost(f, name, *member_id),
        }
    }
}

/// What a member is told that has run before, with data that it has no more: at its start if
/// somebody answers, or later by the group itself.
pub(crate) fn write_data_lost(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    member_id: u64,
) -> fmt::Result {
    write!(
        f,
        "the cluster has seen member {name} ({member_id:x}) run with a data folder that it has no \
         more, and counted on what was in it: put the folder back, or replace the member: flotilla \
         ctl member replace {member_id:x}; see docs/operating/members.md"
    )
}

impl std::error::Error for JoinFault {}

/// Who wants to know.
#[derive(Clone, Debug)]
pub(crate) struct Newcomer {
    pub(crate) name: String,
    pub(crate) group: GroupId,
    /// Where the others reach it.
    pub(crate) peer_urls: Vec<HttpUrl>,
    /// Where it reaches the others.
    pub(crate) others: Vec<HttpUrl>,
    /// What it shows them.
    pub(crate) tls: Option<Arc<PeerTls>>,
}

impl Newcomer {
    pub(crate) fn new(
        name: &str,
        group: GroupId,
        own: NodeId,
        cluster: &Cluster,
        tls: Option<Arc<PeerTls>>,
    ) -> Self {
        let own_urls = cluster.members.get(&own).map(|seed| seed.peer_urls.clone());
        let others = cluster.members.iter().filter(|(id, _)| **id != own);
        Self {
            name: name.to_owned(),
            group,
            peer_urls: own_urls.unwrap_or_default(),
            others: others.flat_map(|(_, seed)| seed.peer_urls.clone()).collect(),
            tls,
        }
    }

    /// Who this member is in a cluster that exists. Blocks, and asks for some seconds.
    pub(crate) fn join(&self) -> Result<Identity, JoinFault> {
        let mut refusal = JoinFault::NoMemberAnswers { asked: texts(&self.others) };
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                thread::park_timeout(ATTEMPT_INTERVAL);
            }
            for known in self.ask_all() {
                match self.find_self(&known) {
                    Ok(identity) => return Ok(identity),
                    Err(error @ JoinFault::DataLost { .. }) => return Err(error),
                    Err(error) => refusal = error,
                }
            }
        }
        Err(refusal)
    }

    /// A member of a new cluster: has the cluster seen it run? Who does not answer is not there.
    pub(crate) fn check_unknown(&self, id: NodeId, cluster_id: u64) -> Result<(), JoinFault> {
        let knows_it = |known: &KnownCluster| {
            let configuration = &known.configuration.configuration;
            known.cluster_id == cluster_id && has_run(configuration, id)
        };
        if self.ask_all().iter().any(knows_it) {
            return Err(JoinFault::DataLost { name: self.name.clone(), member_id: id.0 });
        }
        Ok(())
    }

    /// The answers of those that answer.
    fn ask_all(&self) -> Vec<KnownCluster> {
        let ask = |url: &HttpUrl| {
            ask_members(&url.peer_address(), self.group, ASK_TIMEOUT, self.tls.as_deref())
        };
        let answers: Vec<io::Result<KnownCluster>> = thread::scope(|scope| {
            let asking: Vec<_> =
                self.others.iter().map(|url| scope.spawn(move || ask(url))).collect();
            let answered = asking.into_iter().map(|asking| {
                asking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            answered.collect()
        });
        for (url, answer) in self.others.iter().zip(&answers) {
            if let Err(error) = answer {
                tracing::info!(peer = %url, %error, "a member does not answer yet");
            }
        }
        answers.into_iter().flatten().collect()
    }

    fn find_self(&self, known: &KnownCluster) -> Result<Identity, JoinFault> {
        let configuration = &known.configuration.configuration;
        let own: BTreeSet<String> = texts(&self.peer_urls).into_iter().collect();
        let is_own = |attributes: &MemberAttributes| {
            attributes.peer_urls.iter().cloned().collect::<BTreeSet<_>>() == own
        };
        let mut members =
            configuration.members().map(|id| (id, MemberAttributes::of(configuration, id)));
        let Some((member_id, _)) = members.find(|(_, attributes)| is_own(attributes)) else {
            return Err(JoinFault::NotAMember {
                name: self.name.clone(),
                peer_urls: own.into_iter().collect(),
            });
        };
        if has_run(configuration, member_id) {
            let name = self.name.clone();
            return Err(JoinFault::DataLost { name, member_id: member_id.0 });
        }
        let seed = |id: NodeId| {
            let attributes = MemberAttributes::of(configuration, id);
            let urls = attributes.peer_urls.iter().filter_map(|url| HttpUrl::parse(url).ok());
            let name = if id == member_id { self.name.clone() } else { attributes.name.clone() };
            (id, Seed { name, peer_urls: urls.collect() })
        };
        let members = configuration.members().map(seed).collect();
        let cluster = Cluster { id: known.cluster_id, members };
        Ok(Identity { member_id, name: self.name.clone(), joined: true, cluster })
    }
}

/// Whether a member has vouched for anything, as far as a configuration says: its leader has put
/// its log on record, or it has told where clients reach it (that alone, before logs had numbers).
fn has_run(configuration: &Configuration, id: NodeId) -> bool {
    configuration.incarnations.contains_key(&id)
        || !MemberAttributes::of(configuration, id).client_urls.is_empty()
}

#[cfg(test)]
mod tests {
    use host::GroupConfiguration;
    use raft::{Incarnation, LogIndex};

    use super::*;

    fn known(started: &[(u64, &str)], waiting: &[(u64, &str)]) -> KnownCluster {
        let mut configuration = Configuration::default();
        let all = started.iter().map(|member| (member, true));
        for ((id, url), has_started) in all.chain(waiting.iter().map(|member| (member, false))) {
            let attributes = MemberAttributes {
                peer_urls: vec![(*url).to_owned()],
                client_urls: if has_started { vec!["http://c:1".to_owned()] } else { Vec::new() },
                ..MemberAttributes::default()
            };
            configuration.voters.insert(NodeId(*id));
            configuration.attributes.insert(NodeId(*id), attributes.encode());
        }
        let index = LogIndex(1);
        let configuration = GroupConfiguration { index, is_committed: true, configuration };
        KnownCluster { cluster_id: 7, node_id: NodeId(1), configuration }
    }

    fn newcomer() -> Newcomer {
        Newcomer {
            name: "n2".to_owned(),
            group: GroupId(1),
            peer_urls: vec![HttpUrl::parse("http://b:1").unwrap()],
            others: Vec::new(),
            tls: None,
        }
    }

    #[test]
    fn one_that_joins_learns_who_it_is_by_its_address() {
        let known = known(&[(1, "http://a:1")], &[(2, "http://b:1")]);
        let identity = newcomer().find_self(&known).unwrap();
        assert_eq!((identity.member_id, identity.cluster.id), (NodeId(2), 7));
        assert!(identity.joined);
        let names: Vec<_> = identity.cluster.members.values().map(|seed| &*seed.name).collect();
        assert_eq!(names, ["", "n2"]);
    }

    #[test]
    fn one_that_nobody_added_is_refused() {
        let error = newcomer().find_self(&known(&[(1, "http://a:1")], &[])).unwrap_err();
        assert_eq!(error.exit_code(), 23, "{error}");
        assert!(error.to_string().contains("member add n2"), "{error}");
    }

    #[test]
    fn one_that_ran_before_has_lost_its_disk() {
        let cluster = known(&[(1, "http://a:1"), (2, "http://b:1")], &[]);
        let error = newcomer().find_self(&cluster).unwrap_err();
        assert_eq!(error.exit_code(), 19, "{error}");
        // Killed between its first answer to the leader and telling where clients reach it.
        let mut cluster = known(&[(1, "http://a:1")], &[(2, "http://b:1")]);
        newcomer().find_self(&cluster).unwrap();
        cluster.configuration.configuration.incarnations.insert(NodeId(2), Incarnation(7));
        let error = newcomer().find_self(&cluster).unwrap_err();
        assert_eq!(error.exit_code(), 19, "{error}");
        assert_eq!(JoinFault::NoMemberAnswers { asked: Vec::new() }.exit_code(), 18);
    }
}
