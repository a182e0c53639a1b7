//! Of which term's leader an errand of version 2 was asked, which does not say it.
//!
//! Only the life that led in that term may take it, see `errands.rs`. What its sender said before
//! is as good: an answer that a member gives to its leader, or to who would become it, carries the
//! sender's own term, and terms never fall. So the errand was sent in that term, or in a later one.
//! If this life led in that term, no life before it can have had the errand: had one been asked as
//! the leader of that term or of a later one, this life, whose term is above all that the others
//! led in, could not have led in the earlier one.
//!
//! Another message may not do: a `PreVote` carries a term that nobody has begun. Node 2 asks
//! whether it might lead in term 6; it hears again from node 1, which leads in term 5, and sends it
//! an errand. Node 1 does it, begins anew, leads in term 6, and the network brings both frames once
//! more.

use std::collections::BTreeMap;

use raft::{Body as Rpc, Term};
use wal::GroupId;

use crate::frame::SAYS_NO_TERM;
use crate::records::{Body, Record};

/// Groups of which it is kept what a peer said. Of more only a broken peer speaks, or one with so
/// many that the errands in some of them have an unknown outcome while it is not upgraded.
const GROUPS_MAX: usize = 1 << 14;

/// What one life of a peer has said on one stream, while it speaks version 2.
#[derive(Debug, Default)]
pub(crate) struct Said(BTreeMap<GroupId, Term>);

impl Said {
    /// Hears the records of the next frame, and gives the errands among them the term in which they
    /// were sent, or an earlier one, if it can be told.
    pub(crate) fn date(&mut self, version: u8, records: &mut [Record]) {
        if version > SAYS_NO_TERM {
            return;
        }
        for Record { group, body } in records {
            if let Body::Errand { term, .. } = body {
                *term = self.0.get(group).copied();
            } else if let Body::Raft(message) = body
                && is_answer(&message.body)
            {
                self.hear(*group, message.term);
            }
        }
    }

    fn hear(&mut self, group: GroupId, said: Term) {
        let has_room = self.0.len() < GROUPS_MAX;
        if let Some(term) = self.0.get_mut(&group) {
            *term = said.max(*term);
        } else if has_room {
            self.0.insert(group, said);
        }
    }
}

/// Whether it is an answer of the term in which whoever answers is. That to a candidate counts as
/// well: an errand that waited for a leader leaves before the first answer to that leader does.
fn is_answer(body: &Rpc) -> bool {
    matches!(
        body,
        Rpc::RequestVoteResponse { .. }
            | Rpc::AppendEntriesResponse(_)
            | Rpc::HeartbeatResponse { .. }
            | Rpc::InstallSnapshotResponse { .. }
    )
}

#[cfg(test)]
mod tests {
    use raft::{Message, NodeId};

    use super::*;
    use crate::errands::Errand;

    const GROUP: GroupId = GroupId(1);

    fn said(group: GroupId, term: u64, body: Rpc) -> Record {
        let message = Message::new(NodeId(1), NodeId(2), Term(term), body);
        Record { group, body: Body::Raft(message) }
    }

    fn answer(group: GroupId, term: u64) -> Record {
        said(group, term, Rpc::HeartbeatResponse { round: 1, last_index: raft::LogIndex(1) })
    }

    fn dated(heard: &mut Said, version: u8, before: Option<Record>) -> Option<Term> {
        let errand = Body::Errand { term: None, number: 1, errand: Errand::Report };
        let mut records: Vec<_> = before.into_iter().collect();
        records.push(Record { group: GROUP, body: errand });
        heard.date(version, &mut records);
        match records.pop().map(|record| record.body) {
            Some(Body::Errand { term, .. }) => term,
            other => panic!("not the errand: {other:?}"),
        }
    }

    #[test]
    fn an_errand_is_of_the_newest_term_that_its_sender_had_come_to() {
        let heard = &mut Said::default();
        assert_eq!(dated(heard, 2, None), None, "nobody knows");
        assert_eq!(dated(heard, 2, Some(answer(GroupId(2), 4))), None, "of another group");
        assert_eq!(dated(heard, 2, Some(answer(GROUP, 4))), Some(Term(4)));
        assert_eq!(dated(heard, 2, Some(answer(GROUP, 3))), Some(Term(4)), "it was there");
        assert_eq!(dated(heard, 2, Some(answer(GROUP, 7))), Some(Term(7)));
        assert_eq!(dated(heard, 2, None), Some(Term(7)));
    }

    #[test]
    fn what_waited_for_a_leader_is_of_the_term_in_which_its_sender_voted() {
        for granted in [true, false] {
            let vote = said(GROUP, 5, Rpc::RequestVoteResponse { granted });
            assert_eq!(dated(&mut Said::default(), 2, Some(vote)), Some(Term(5)));
        }
    }

    #[test]
    fn a_term_that_nobody_has_begun_dates_nothing() {
        let heard = &mut Said::default();
        let last = raft::EntryId::new(1, 1);
        let asked = [Rpc::PreVote { last }, Rpc::PreVoteResponse { granted: true }];
        for body in asked {
            assert_eq!(dated(heard, 2, Some(said(GROUP, 6, body))), None);
        }
    }

    #[test]
    fn no_peer_makes_this_node_remember_without_end() {
        let heard = &mut Said::default();
        for group in 0..=GROUPS_MAX as u64 {
            heard.date(2, &mut [answer(GroupId(group + 10), 1)]);
        }
        assert_eq!(heard.0.len(), GROUPS_MAX);
        assert_eq!(dated(heard, 2, Some(answer(GROUP, 1))), None, "unknown is safe");
    }
}
