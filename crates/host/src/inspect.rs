//! What a frame says, for those who draw pictures of a cluster and for nobody else.

use bytes::Bytes;
use raft::Message;
use wal::GroupId;

use crate::frame::{self, FRAME_VERSION};
use crate::records::{self, Body};

/// One thing that a frame says to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inspected {
    /// A message of the protocol.
    Message(Box<Message>),
    /// Something of the host: a command on its way to the leader, a piece of a snapshot.
    Other(&'static str),
}

/// What a frame says, group by group; nothing if it is no frame of a version that is spoken here.
#[must_use]
pub fn inspect(frame: &Bytes) -> Vec<(GroupId, Inspected)> {
    let Ok((header, mut body)) = frame::open(frame.clone(), FRAME_VERSION) else {
        return Vec::new();
    };
    let mut said = Vec::new();
    while !body.is_empty() {
        let Some(record) = records::decode(&header, &mut body) else { break };
        said.push((
            record.group,
            match record.body {
                Body::Raft(message) => Inspected::Message(Box::new(message)),
                Body::Forward { .. } => Inspected::Other("command for the leader"),
                Body::ForwardRefused { .. } => Inspected::Other("command refused"),
                Body::Call { .. } => Inspected::Other("call"),
                Body::CallAnswer { .. } => Inspected::Other("answer to a call"),
                Body::Errand { .. } => Inspected::Other("errand for the leader"),
                Body::ErrandAnswer { .. } => Inspected::Other("answer to an errand"),
                Body::SnapshotChunk(_) => Inspected::Other("piece of a snapshot"),
                Body::SnapshotAck(_) => Inspected::Other("piece has come"),
            },
        ));
    }
    said
}
