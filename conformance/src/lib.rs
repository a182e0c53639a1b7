//! Real etcd clients and real processes, driven against a Flotilla cluster.
