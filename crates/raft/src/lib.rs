//! The Raft protocol of one group: no IO, no clock, values in and values out.
//!
//! A [`Node`] is one member of one group. It is given what happened, as an [`Input`] and with the
//! time, and it says what must be done, as an [`Output`]. It never blocks, reads no disk and no
//! clock, and starts no thread; equal inputs give equal outputs. The words are those of the paper
//! (Ongaro and Ousterhout, *In Search of an Understandable Consensus Algorithm*), "Raft" in the
//! comments, and of Ongaro's thesis, "thesis".
//!
//! # The contract
//!
//! The node promises that a message leaves only when all it says is durable (see [`output`]), and
//! that [`Output::committed`] is the same sequence on every node, without a gap. It never panics
//! on what a peer sent: what breaks the protocol is counted ([`PeerFaults`]) and dropped.
//!
//! The host promises, in return:
//!
//! 1. To write [`Output::persists`] in order, each atomically, and to hand back the number of one
//!    with [`Input::Persisted`] only when it and all before it would survive a crash. A write that
//!    fails is never reported: the node's word would be worth nothing.
//! 2. To apply [`Output::committed`] in order, and to say so with [`Input::Applied`].
//! 3. To answer every [`Fetch`] from what is durable, every [`SendSnapshot`] with
//!    [`Input::SnapshotSent`], and [`Output::install_snapshot`] with [`Input::SnapshotInstalled`]
//!    when the state machine is the snapshot's. A snapshot that came is staged, checked and durable
//!    before its [`Body::InstallSnapshot`] is handed in.
//! 4. To give each [`NodeId`] to one node only, for ever; to build a node after a crash from all
//!    that was durable ([`Restored`]), with another [`seed`](Options::seed) in each life; and to
//!    end it when [`Output::removed`] says so.
//! 5. To name each disk by a number drawn when it was empty
//!    ([`Options::incarnation`](Options::incarnation)): so a disk that was lost is found out.
//! 6. To hand in a time that never falls, as it is *after* the input came: what was heard earlier
//!    than it is taken for would stretch a lease. Where groups rest, to say
//!    [`Input::PeerLost`] of a node that is silent for an election timeout.
//!
//! Messages may be lost, repeated and reordered. The parts of an output may be done in any order
//! and at the same time.
//!
//! # The main loop
//!
//! ```
//! use raft::{
//!     Configuration, Input, Node, NodeId, Options, Output, Payload, ReadMode, ReadRequest,
//!     Restored, Role, Tick,
//! };
//!
//! /// Does what a node wants done; a real host does most of it on other threads. Returns the
//! /// commands to apply, and the names of the reads that may be answered.
//! fn carry_out(node: &mut Node, now: Tick, output: Output) -> (Vec<bytes::Bytes>, Vec<u64>) {
//!     let (mut commands, mut reads) = (Vec::new(), Vec::new());
//!     for persist in output.persists {
//!         // … write it, sync it, and when that is done:
//!         node.handle(now, Input::Persisted(persist.number));
//!     }
//!     for message in output.messages {
//!         // … send it; nothing it says can be forgotten any more.
//!         # drop(message);
//!     }
//!     for entry in output.committed {
//!         if let Payload::Command(command) = entry.payload {
//!             commands.push(command);
//!         }
//!         node.handle(now, Input::Applied(entry.id.index));
//!     }
//!     for read in output.reads {
//!         // … once everything up to `point.index` is applied; an error says what to tell.
//!         if let Ok(point) = read.result {
//!             assert!(point.index <= node.applied_index());
//!             reads.push(read.context);
//!         }
//!     }
//!     for fetch in output.fetches {
//!         // … read `fetch.from..fetch.to` from the log:
//!         let entries = Vec::new();
//!         node.handle(now, Input::Fetched { from: fetch.from, entries });
//!     }
//!     for wanted in output.send_snapshots {
//!         // … send one that covers `at_least`, with its `Node::snapshot_mark`; here: it failed.
//!         node.handle(now, Input::SnapshotSent { to: wanted.to, delivered: None });
//!     }
//!     if let Some(mark) = output.install_snapshot {
//!         // … replace the state machine by what is staged:
//!         node.handle(now, Input::SnapshotInstalled(mark));
//!     }
//!     if let Some(mark) = output.removed {
//!         // … this node ends here, for ever.
//!         # drop(mark);
//!     }
//!     (commands, reads)
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let voters = Configuration::of_voters([NodeId(1)]);
//! let mut node = Node::new(Options::new(NodeId(1), 42), Restored::bootstrap(voters))?;
//! let (mut applied, mut answered) = (Vec::new(), Vec::new());
//! let mut now = Tick(0);
//! for round in 0..10 {
//!     // Time passes, or something arrives.
//!     now = now.after(1);
//!     if node.next_deadline().is_some_and(|deadline| deadline <= now) {
//!         node.handle(now, Input::Tick);
//!     }
//!     if round == 5 {
//!         node.propose(now, vec!["hello".into()])?;
//!     }
//!     if round == 8 {
//!         node.handle(now, Input::Read(ReadRequest { context: 7, mode: ReadMode::ReadIndex }));
//!     }
//!     let output = node.take_output();
//!     let (commands, reads) = carry_out(&mut node, now, output);
//!     applied.extend(commands);
//!     answered.extend(reads);
//! }
//! assert_eq!(node.role(), Role::Leader);
//! assert_eq!(applied, ["hello"]);
//! assert_eq!(answered, [7]);
//! # Ok(())
//! # }
//! ```
//!
//! Three inputs come with every entry: messages, writes that have landed and entries that are
//! applied. A host that has them in its hands gives them to [`Node::receive`], [`Node::persisted`]
//! and [`Node::applied`], which do what the inputs do and need no value wrapped for it.
//!
//! The figures of the paper, with the fields of each RPC and where we differ, are at [`Body`].
//!
//! # The map
//!
//! | file | duty | source |
//! | --- | --- | --- |
//! | `types` `entry` `entries` `message` | the words | Raft Figure 2 |
//! | `input` `output` `node` `status` | the doors | |
//! | `options` `restored` `restore` | how a node begins | |
//! | `step` | the term gate and the dispatch of messages | Raft §5.1 |
//! | `role` | the four roles and the ways between them | Raft Figure 4 |
//! | `election` | timeouts, pre-vote, votes, check-quorum | Raft §5.2, §5.4.1; thesis §9.6 |
//! | `propose` `replication` `progress` | the leader's side of the log | Raft §5.3 |
//! | `feeder` `feeding` | what a member is sent next; learners that pull from another member | |
//! | `slow_followers` | notice of followers that lag | |
//! | `follower` | the follower's side | Raft §5.3 |
//! | `reorder` | what overtook what it follows | |
//! | `commit` | what is committed, and why | Raft §5.4.2 |
//! | `apply` | from committed to applied | |
//! | `schedule` | which committed entries may be executed at once | |
//! | `snapshot` | both sides, and the cutting of the log | Raft §7 |
//! | `read` | the door for reads: what each may rest on | |
//! | `read_index` | linearizable reads | thesis §6.4 |
//! | `read_local` | stale reads, and reads behind a write | |
//! | `leadership` | stepping down, campaigns on request, pauses, stalled disks | |
//! | `preference` | voters that are preferred as leaders | |
//! | `lease` | reads without a round, by clocks | thesis §6.4.1 |
//! | `lease_guard` `lease_terms` | the log is the lease | arXiv 2512.15659 |
//! | `lease_clock` | the same by clocks that know their error | arXiv 2512.15659 §2.2 |
//! | `quiesce` | groups with nothing to do | |
//! | `transfer` | handing leadership over | thesis §3.10 |
//! | `membership` `configuration` | who is a member: joint changes, and of one voter | thesis §4 |
//! | `abandon` | a change of members that is given up | |
//! | `staging` | learners that vote as soon as they hold the log | thesis §4.2.1 |
//! | `incarnation` | disks that were lost or set back | |
//! | `witness` | voters without the data | |
//! | `recovery` | a group that lost its majority for good | |
//! | `removal` | telling a node that it was removed | |
//! | `log` | the log as seen in memory | |
//! | `persist` `outbox` | what is on its way to the disk, and what waits for it | |
//! | [`quorum`] | who can decide alone: majorities, joint ones, other rules | thesis §4.3 |
//! | `fault` `refusal` `trace` | peers' faults, refused requests, typed events | |
//! | `invariants` | every safety property by name (feature `invariants`) | Raft Figure 3 |
//!
//! `docs/raft-map.md` leads from a section of the paper to the function and the test.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, seeded_bugs))]
extern crate std;

mod abandon;
mod apply;
mod commit;
mod configuration;
mod election;
mod entries;
mod entry;
mod fault;
mod feeder;
mod feeding;
mod follower;
mod incarnation;
mod input;
#[cfg(any(test, feature = "invariants"))]
pub mod invariants;
mod jitter;
mod leadership;
mod lease;
mod lease_clock;
mod lease_guard;
mod lease_terms;
mod log;
mod membership;
mod message;
mod node;
mod options;
mod outbox;
pub mod output;
mod persist;
mod preference;
mod progress;
mod propose;
mod queue;
mod quiesce;
pub mod quorum;
mod read;
mod read_index;
mod read_local;
mod recovery;
mod refusal;
mod removal;
mod reorder;
mod replication;
mod restore;
mod restored;
mod role;
mod schedule;
mod seeded;
mod slow_followers;
mod snapshot;
mod staging;
mod status;
mod step;
mod trace;
mod transfer;
mod types;
mod witness;

pub use configuration::change::{ConfigurationChange, LeaseChange, MemberChange};
pub use configuration::one_step::{OneStepFault, Transition};
pub use entries::Entries;
pub use entry::{Configuration, Entry, HardState, Payload, SnapshotMark, TOMBSTONES_MAX};
pub use fault::{PeerFault, PeerFaults};
pub use input::Input;
pub use leadership::Timeouts;
pub use lease_terms::{ClockInterval, LeaseClock, LeaseTerms, Limbo};
pub use message::{AppendOutcome, Body, Message};
pub use node::Node;
pub use options::{Options, OptionsError, RestoredFault};
pub use output::{
    Fetch, MarkWrite, Output, Persist, PersistNumber, ReadOutcome, SendSnapshot, SlowFollower,
};
pub use quorum::rule::{QuorumRule, RuleFault};
pub use read::{ReadError, ReadMode, ReadPoint, ReadRequest, Staleness};
pub use recovery::RecoveryError;
pub use refusal::{CampaignError, ChangeError, ProposeError, TransferError};
pub use restored::Restored;
pub use role::Role;
pub use schedule::{ConflictKeys, KeyedCommand, waves};
pub use status::{FollowerStatus, HalfStatus, QuorumStatus, Status};
pub use trace::{Event, VoteRefusal};
pub use types::{EntryId, Incarnation, LogIndex, NodeId, Term, Tick};
