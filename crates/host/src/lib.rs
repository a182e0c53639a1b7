//! Many Raft groups on few threads: workers, apply, peer transport, snapshot transfer.
