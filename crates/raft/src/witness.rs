//! Witnesses: voters that hold the names of entries and the configurations, but no commands.
//!
//! **A witness votes for leaders and for who is a member. It never stands in for data.** Three
//! rules of the leader make that so; on the witness itself nothing is special but that it has no
//! state, and never leads.
//!
//! 1. *Where a command must be.* An entry is committed when a quorum of the voters has it, as
//!    always, and if it is a command, a majority of the full voters of C_new as well. What has no
//!    payload, a no-op or a configuration, a witness holds like anybody.
//! 2. *When a witness hears.* A witness is sent a command's name only once a majority of the full
//!    voters of C_new holds the command.
//!
//! Who is elected has all that is committed, by rule 1's first half and the comparison of logs,
//! as ever (Raft §5.4); and who is elected is no witness, so that it has the commands too. The
//! rest of rule 1 is about disks. Had n1 and the witness been enough:
//!
//! ```text
//!   n1  1 2 3        3 is acknowledged.  n1's disk dies: 3 is nowhere
//!   n2  1 2          down
//!   w   1 2 3
//! ```
//!
//! Rule 2 is about elections. Without it, `w` above could hold the name of a 3 that was never
//! committed; n2 and `w`, a quorum, could not elect anybody, since `w` refuses n2, and cannot lead
//! itself. With it, whatever `w` has, a majority of the full voters has as well.
//!
//! 3. *Somebody has it all.* Nothing is committed, and a witness hears of nothing, that no full
//!    voter of C_new holds. Where witnesses can make a commit quorum by themselves, C_new would
//!    otherwise be committed before anybody in it has what was committed under C_old:
//!
//! ```text
//!   C_old = n1, C_new = n2 w w'.  w and w' commit C_new; n1 leaves, and n2 has nothing
//! ```
//!
//!    And a witness that had heard of what no disk of a full voter has would refuse them all its
//!    vote: so the leader's own disk comes first.
//!
//! So a leader also knows, of entries of earlier terms, that a command is where it must be when any
//! witness has its name: the leader of that term saw to it.
//!
//! # What it gives, and what it costs
//!
//! With two full voters and a witness, either full voter may be down, and the other leads: it
//! reads, and it changes the configuration. It does not write. The operator, or the host after a
//! while, takes the dead one out ([`Demote`](crate::MemberChange::Demote) or
//! [`Remove`](crate::MemberChange::Remove)): from then on the configuration itself says that one
//! copy is all there is, and writes go on. What was proposed meanwhile goes with it. That step is
//! never taken silently, which is the difference to systems that count a witness for data. A dead
//! one that was to *become* a full voter is another matter: that change is given up by its leader
//! (M18), and the group has as many copies as it had.
//!
//! Whatever comes behind a command that only the leader holds waits with it. That may be the
//! leader's no-op, if the command is of a term before, or a configuration of the same members,
//! such as one that puts a disk on record: they cannot be committed before the dead one is taken
//! out. So in a group with witnesses that change may begin before anything of the term is
//! committed, and behind a configuration that is not, if the operator says so
//! ([`allow_stall`](crate::ConfigurationChange::allow_stall)). The configuration in force may be
//! uncommitted then, but not joint. So either it has the voters of the one before, or the
//! joint one between them is committed, or was given up for it; each way, who decides under the
//! one before shares a voter with who decides under the joint configuration that begins here.
//!
//! # What the host of a witness does
//!
//! It sets [`Options::is_witness`](crate::Options::is_witness), writes persists and sends messages
//! like any, has no state machine, is handed nothing to apply and no snapshot to install, and may
//! ask for a compaction up to the applied index whenever it likes. After a restart it says that
//! the mark is applied. A witness is not turned into another member, nor another member into one.
//!
//! Scripts: `testdata/witness/`.

use alloc::vec::Vec;

use crate::progress::Progress;
use crate::quorum::majority;
use crate::role::RoleState;
use crate::seeded::{Bug, bug};
use crate::{Body, Entries, Entry, Event, LogIndex, Node, NodeId, Payload, SnapshotMark};

impl Node {
    /// Whether this node holds no commands.
    pub(crate) fn is_witness(&self) -> bool {
        self.options.is_witness
            || self.configurations.current().witnesses.contains(&self.options.id)
    }

    /// The largest index, up to `upto`, that a witness may hear of, and that may be committed: no
    /// command up to it is on too few disks. `upto` itself in a group without witnesses.
    pub(crate) fn witness_limit(&mut self, upto: LogIndex) -> LogIndex {
        if self.configurations.current().witnesses.is_empty() {
            return upto;
        }
        self.payload_limit(upto)
    }

    /// The same for what a witness hears, also of one that has left and is told so: until that is
    /// committed the others may still need its vote, which it would refuse for the sake of a
    /// command that nobody else has.
    pub(crate) fn witness_hears_upto(&mut self, upto: LogIndex) -> LogIndex {
        let RoleState::Leader(leader) = &self.role else { return upto };
        if leader.leaving.iter().any(|leaver| leaver.book.is_witness) {
            return self.payload_limit(upto);
        }
        self.witness_limit(upto)
    }

    fn payload_limit(&mut self, upto: LogIndex) -> LogIndex {
        let RoleState::Leader(leader) = &mut self.role else { return upto };
        // Rule 3. Who has left is no full voter of C_new, and neither is this node then.
        let full = leader.members.iter().filter(|book| book.votes_incoming && !book.is_witness);
        let whole = LogIndex(full.map(Progress::counted_index).max().unwrap_or(0));
        let upto = if bug(Bug::WitnessesAloneCommit) { upto } else { upto.min(whole) };
        let floor = self.commit_index.max(LogIndex(leader.payloads_held()));
        match self.log.cache().first_command(floor, upto) {
            Some(command) => command.previous(),
            None => upto,
        }
    }

    /// Whether the way back from the joint configuration at `index` would leave a witness with a
    /// name that is not what rule 2 says: C_old wants the command on more disks than it is on.
    ///
    /// ```text
    ///   C_old = n1 n2 w; n2 is cut off, and n1 alone has b. Without n2 one copy is enough: under
    ///   C_old,new = (n1 w | n1 n2 w) w is told of b. Back in C_old b waits for n2, as it must.
    ///   Then n1 begins anew, is elected by w, sees that w has the name, and takes b for safe.
    /// ```
    pub(crate) fn witness_may_know_too_much(&self, index: LogIndex) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        let before = self.configurations.at(index.previous());
        let witnesses = leader.books().filter(|book| before.witnesses.contains(&book.id));
        let told = |book: &Progress| match bug(Bug::OnlyTheLastWordWasHeard) {
            true => book.next_index.previous(),
            false => book.told_index,
        };
        let Some(told) = witnesses.map(told).max() else { return false };
        let is_full = |book: &&Progress| {
            before.voters.contains(&book.id) && !before.witnesses.contains(&book.id)
        };
        let mut held: Vec<u64> =
            leader.books().filter(is_full).map(Progress::counted_index).collect();
        let floor = self.commit_index.max(LogIndex(majority::quorum_value(&mut held)));
        self.log.cache().first_command(floor, told).is_some()
    }

    /// A witness needs entries that the log no longer has: the mark is all there is to know.
    pub(crate) fn send_mark(&mut self, to: NodeId) {
        let last = self.log.mark();
        let configuration = self.configurations.at(last.index).clone();
        let RoleState::Leader(leader) = &mut self.role else { return };
        if let Some(member) = leader.member(to) {
            member.probe_from(last.index.next(), true);
            member.told_index = member.told_index.max(last.index);
        }
        self.record(|| Event::SnapshotNeeded { to, at_least: last.index });
        let mark = SnapshotMark { last, configuration }.into();
        self.send_as_leader(to, Body::InstallSnapshot { mark });
    }
}

/// Takes the commands out of what a witness is sent, and what it may not hear of yet.
pub(crate) fn withhold(entries: &Entries, limit: LogIndex) -> Entries {
    let may_hear = |entry: &&Entry| entry.id.index <= limit || bug(Bug::WitnessHearsTooEarly);
    let without = |entry: &Entry| match entry.payload {
        Payload::Command(_) | Payload::Keyed(_) => {
            Entry { id: entry.id, payload: Payload::Withheld }
        }
        Payload::Noop | Payload::Withheld | Payload::Lease(_) | Payload::Configuration(_) => {
            entry.clone()
        }
    };
    entries.iter().filter(may_hear).map(without).collect()
}
