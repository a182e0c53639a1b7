//! The etcd v3 protobuf types and services, as generated code.
//!
//! The texts are in `crates/api/proto`; `cargo run -p api-codegen` turns them into
//! `src/generated`, which is checked in, so that building needs no `protoc`. Nothing here knows
//! what the messages mean: that is `server`'s and `client`'s matter.
//!
//! Every `bytes` field is a [`bytes::Bytes`]: a key or value of a request is a piece of the buffer
//! that the socket was read into, not a copy.

#![expect(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::excessive_nesting,
    clippy::too_many_lines,
    reason = "written by a generator, which has a taste of its own"
)]

/// All services and messages as protobuf's own `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");

/// Keys and events.
pub mod mvccpb {
    include!("generated/mvccpb.rs");
}
/// Users, roles and permissions.
pub mod authpb {
    include!("generated/authpb.rs");
}
/// The services: KV, Watch, Lease, Cluster, Maintenance and Auth.
pub mod etcdserverpb {
    include!("generated/etcdserverpb.rs");
}
/// Locks as a service.
pub mod v3lockpb {
    include!("generated/v3lockpb.rs");
}
/// Elections as a service.
pub mod v3electionpb {
    include!("generated/v3electionpb.rs");
}
/// The packages of gRPC itself.
pub mod grpc {
    /// Whether a server is well.
    pub mod health {
        /// The first version of the protocol.
        pub mod v1 {
            include!("generated/grpc.health.v1.rs");
        }
    }
}
