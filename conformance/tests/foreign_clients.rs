//! Programs of ours that use all that a foreign client offers, each against a three-node cluster
//! with TLS and authentication and against one without.

use conformance::{Cluster, ClusterPlan, ForeignClient, record, skip};

/// What every one of them does, whatever else it offers.
const COMMON: [&str; 8] = [
    "keys and ranges",
    "transactions",
    "compaction",
    "watches",
    "leases",
    "locks",
    "members",
    "maintenance",
];

/// Both clusters at the same time: most of it is waiting for leases to end.
fn check(test: &str, client: ForeignClient, further: &[&str]) {
    if client.command().is_none() {
        return skip(test, client.name());
    }
    std::thread::scope(|scope| {
        let of = |secured| scope.spawn(move || check_one(client, secured, further));
        let both = [of(false), of(true)];
        for one in both {
            one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
}

fn check_one(client: ForeignClient, secured: bool, further: &[&str]) {
    // bcrypt's cost is what a sign-in takes, and is not what is tested.
    let flags = vec!["--bcrypt-cost=4".to_owned()];
    let cluster = Cluster::start_plan(&ClusterPlan { secured, flags, ..ClusterPlan::default() });
    let Some(command) = client.command() else { return };
    let features = client.run(command, &cluster);
    for expected in COMMON.iter().chain(further) {
        let told = features.iter().any(|feature| feature == expected);
        assert!(told, "{} said nothing of {expected}: {features:?}", client.name());
    }
    features.iter().for_each(|feature| record(client.name(), secured, feature));
}

#[test]
fn go_clientv3_works() {
    let further = [
        "elections",
        "software transactions",
        "watch progress",
        "watch fragments",
        "caches and mirrors",
        "users and roles",
    ];
    check("go_clientv3_works", ForeignClient::Go, &further);
}

#[test]
fn java_jetcd_works() {
    let further = ["elections", "watch progress", "users and roles"];
    check("java_jetcd_works", ForeignClient::Java, &further);
}

#[test]
fn node_etcd3_works() {
    let further = ["elections", "software transactions", "users and roles"];
    check("node_etcd3_works", ForeignClient::Node, &further);
}

#[test]
fn python_etcd3_works() {
    check("python_etcd3_works", ForeignClient::Python, &[]);
}
