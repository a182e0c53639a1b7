//! The etcd v3 protobuf types and services, as generated code.
