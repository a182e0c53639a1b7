//! The etcd data model as a replicated state machine.
