//! Commands on their way into a leader's log (Raft §5.3): "the leader appends the command to its log
//! as a new entry".
//!
//! Scripts: `testdata/replication/propose_and_commit.txt`, `testdata/replication/overloaded.txt`.

use alloc::vec::Vec;
use bytes::Bytes;

use crate::role::RoleState;
use crate::{Entries, Entry, EntryId, KeyedCommand, Node, Payload, ProposeError};

impl Node {
    pub(crate) fn propose_commands(
        &mut self,
        commands: impl IntoIterator<Item = Bytes, IntoIter: ExactSizeIterator>,
    ) -> Result<EntryId, ProposeError> {
        self.propose_payloads(commands.into_iter().map(Payload::Command))
    }

    pub(crate) fn propose_keyed_commands(
        &mut self,
        commands: Vec<KeyedCommand>,
    ) -> Result<EntryId, ProposeError> {
        self.propose_payloads(commands.into_iter().map(|keyed| Payload::Keyed(keyed.into())))
    }

    fn propose_payloads(
        &mut self,
        payloads: impl ExactSizeIterator<Item = Payload>,
    ) -> Result<EntryId, ProposeError> {
        let leader_id = self.leader_id();
        let first = EntryId { term: self.current_term(), index: self.log.last().index.next() };
        let RoleState::Leader(leader) = &mut self.role else {
            return Err(ProposeError::NotLeader { leader_id });
        };
        if let Some(transfer) = leader.transfer {
            // Thesis §3.10: the target could never catch up with a log that grows.
            return Err(ProposeError::TransferInProgress { to: transfer.to });
        }
        if payloads.len() == 0 {
            return Err(ProposeError::Empty);
        }
        let mut next = first;
        let mut bytes = 0;
        let to_entry = |payload| {
            let entry = Entry { id: next, payload };
            bytes += entry.size_bytes();
            next.index = next.index.next();
            entry
        };
        let entries: Entries = payloads.map(to_entry).collect();
        // An empty pipe takes anything: a limit below one batch must not stop the group for good.
        let limit = self.options.uncommitted_bytes_max;
        if leader.uncommitted_bytes > 0 && leader.uncommitted_bytes.saturating_add(bytes) > limit {
            let uncommitted_bytes = leader.uncommitted_bytes;
            return Err(ProposeError::Overloaded { uncommitted_bytes });
        }
        leader.uncommitted_bytes += bytes;
        self.append(entries);
        Ok(first)
    }
}
