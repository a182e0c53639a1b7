//! What waits for its time in a core world.

use raft::{Fetch, Input, Message, NodeId, ReadMode, SendSnapshot, SnapshotMark, Tick};

/// What waits for its time. What belongs to a life of a node is nothing in the next one.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    Arrival {
        number: u64,
        message: Message,
        /// Of a heartbeat, when it was sent, by the clock of its leader; and of the answer to one.
        asked_at: Option<Tick>,
    },
    Synced {
        node: NodeId,
        life: u64,
    },
    Apply {
        node: NodeId,
        life: u64,
    },
    Fetched {
        node: NodeId,
        life: u64,
        fetch: Fetch,
    },
    Carry {
        node: NodeId,
        life: u64,
        wanted: SendSnapshot,
    },
    Install {
        node: NodeId,
        life: u64,
        mark: Box<SnapshotMark>,
    },
    End {
        node: NodeId,
        life: u64,
    },
    /// The node crashes, and the wires from it are mended.
    Doom {
        node: NodeId,
        life: u64,
    },
    /// Many ask a follower whose disk hangs.
    Flood {
        node: NodeId,
        life: u64,
    },
    /// A disk that hung answers again.
    MendDisk {
        node: NodeId,
        life: u64,
    },
    /// An operator asks a leader to give up the change that is under way.
    GiveUp {
        node: NodeId,
        life: u64,
    },
    /// An operator is impatient for a learner's vote.
    Promote {
        node: NodeId,
        life: u64,
        learner: NodeId,
    },
    /// An operator brings a learner.
    Bring {
        node: NodeId,
        life: u64,
        newcomer: NodeId,
    },
    /// A client asks a leader: on its leases, or in this mode.
    Ask {
        node: NodeId,
        life: u64,
        mode: Option<ReadMode>,
    },
    /// The host says once more what it has said.
    Report {
        node: NodeId,
        life: u64,
        input: Input,
    },
}

impl Happening {
    /// To whom it happens, and in which of its lives; any life takes a message.
    pub(super) fn whom(&self) -> (NodeId, Option<u64>) {
        match self {
            Self::Arrival { message, .. } => (message.to, None),
            Self::Synced { node, life }
            | Self::Apply { node, life }
            | Self::Fetched { node, life, .. }
            | Self::Carry { node, life, .. }
            | Self::Install { node, life, .. }
            | Self::End { node, life }
            | Self::Doom { node, life }
            | Self::Flood { node, life }
            | Self::MendDisk { node, life }
            | Self::GiveUp { node, life }
            | Self::Promote { node, life, .. }
            | Self::Bring { node, life, .. }
            | Self::Ask { node, life, .. }
            | Self::Report { node, life, .. } => (*node, Some(*life)),
        }
    }
}
