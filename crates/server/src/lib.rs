//! The etcd v3 gRPC services and HTTP endpoints of one member.
