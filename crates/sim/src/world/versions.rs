//! Programs of two versions of the peer protocol in one world: a node begins each life as what was
//! installed last.

use bytes::Bytes;
use host::{FRAME_VERSION, FRAME_VERSION_OLDEST, Inspected, StateMachine, frame_version, inspect};
use raft::{Body, NodeId};

use super::World;

/// What the release before speaks.
pub(crate) const VERSION_BEFORE: u8 = FRAME_VERSION_OLDEST;

/// The program of a node, by the newest version of the peer protocol that it speaks.
#[derive(Debug)]
pub(super) struct Program {
    installed: u8,
    running: u8,
}

impl Default for Program {
    fn default() -> Self {
        Self { installed: FRAME_VERSION, running: FRAME_VERSION }
    }
}

impl Program {
    /// A life begins with what is installed.
    pub(super) fn begin(&mut self) -> u8 {
        self.running = self.installed;
        self.running
    }
}

/// What went from a node of one version to one of another.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Crossings {
    /// Entries to a member that was not upgraded yet.
    pub(crate) entries_down: bool,
    /// Entries to one that was.
    pub(crate) entries_up: bool,
    /// The answer to an errand, from a leader that was not upgraded yet.
    pub(crate) errand_up: bool,
    /// The same, from one that was: it came in the version before.
    pub(crate) errand_down: bool,
}

impl<S: StateMachine> World<S> {
    /// Another program is there for the node's next life, by the newest version that it speaks.
    pub fn install(&mut self, id: NodeId, version: u8) {
        self.node_mut(id).program.installed = version;
    }

    /// The newest version of the peer protocol that a node speaks, or spoke in its last life.
    #[must_use]
    pub fn peer_protocol(&self, id: NodeId) -> u8 {
        self.nodes[&id].program.running
    }

    /// What went between nodes of two versions so far.
    pub(crate) fn crossings(&self) -> Crossings {
        self.crossings
    }

    pub(super) fn look_at_crossing(&mut self, from: NodeId, to: NodeId, frame: &Bytes) {
        let (sent_by, heard_by) = (self.peer_protocol(from), self.peer_protocol(to));
        if sent_by == heard_by {
            return;
        }
        assert!(frame_version(frame) <= Some(sent_by.min(heard_by)), "both understand it");
        let is_down = sent_by > heard_by;
        let crossings = &mut self.crossings;
        for (_, said) in inspect(frame) {
            let (down, up) = match said {
                Inspected::Message(message) if has_entries(&message.body) => {
                    (&mut crossings.entries_down, &mut crossings.entries_up)
                }
                Inspected::Other("answer to an errand") => {
                    (&mut crossings.errand_down, &mut crossings.errand_up)
                }
                Inspected::Message(_) | Inspected::Other(_) => continue,
            };
            *(if is_down { down } else { up }) = true;
        }
    }
}

fn has_entries(body: &Body) -> bool {
    matches!(body, Body::AppendEntries { entries, .. } if !entries.is_empty())
}
