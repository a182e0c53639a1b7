use super::*;

fn options(name: &str, initial_cluster: &str) -> ServerOptions {
    ServerOptions {
        name: name.to_owned(),
        initial_cluster: initial_cluster.to_owned(),
        ..ServerOptions::default()
    }
}

const THREE: &str = "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380";

#[test]
fn members_are_numbered_alike_whatever_the_order_and_the_addresses() {
    let one = Plan::new(&options("a", THREE)).unwrap().cluster.unwrap();
    let other = "c=http://h:3,a=http://h:1,b=http://h:2";
    let two = Plan::new(&options("b", other)).unwrap().cluster.unwrap();
    assert_eq!(one.id, two.id);
    assert_eq!(one.members.keys().collect::<Vec<_>>(), two.members.keys().collect::<Vec<_>>());
    assert_eq!(one.members[&member_id("etcd-cluster", "b")].name, "b");
}

#[test]
fn token_and_name_make_the_number() {
    assert_ne!(member_id("t", "a"), member_id("t", "b"));
    assert_ne!(member_id("t", "a"), member_id("u", "a"));
    assert_ne!(member_id("ta", "b"), member_id("t", "ab"));
    // What a member is called on disk and on the wire must never change with the program.
    assert_eq!(member_id("etcd-cluster", "default").0, 0xe28e_487a_1f68_314e);
}

#[test]
fn a_member_may_have_several_addresses() {
    let cluster = Cluster::parse("t", "a=http://h:1,a=http://h:2").unwrap();
    assert_eq!(cluster.members.len(), 1);
    assert_eq!(cluster.members[&member_id("t", "a")].peer_urls.len(), 2);
}

fn check(options: &ServerOptions, expect: &str) {
    let text = Plan::new(options).unwrap_err().to_string();
    assert!(text.contains(expect), "{text:?} does not say {expect:?}");
}

#[test]
fn what_makes_no_sense_is_named_with_a_remedy() {
    check(&options("d", THREE), "--name=d is not in --initial-cluster, which has");
    check(&options("a", "a"), "'a' is no member");
    check(&options("a", "=http://h:1"), "is no member");
    check(&options("a", "a=h:1"), "--initial-cluster: 'h:1': the scheme is missing");
    check(&options("a", "a=http://h:1,b=http://h:1"), "http://h:1 to two members");
    check(&options("", ""), "--name is empty");
    check(&options("a\nb", ""), "has control characters");
    check(
        &ServerOptions {
            initial_advertise_peer_urls: vec!["http://10.0.0.9:2380".to_owned()],
            ..options("a", THREE)
        },
        "--initial-advertise-peer-urls says http://10.0.0.9:2380: make them equal",
    );
    check(
        &ServerOptions { listen_client_urls: Vec::new(), ..options("a", "") },
        "--listen-client-urls is empty",
    );
    check(
        &ServerOptions { listen_peer_urls: vec!["unix://h:1".to_owned()], ..options("a", "") },
        "--listen-peer-urls: 'unix://h:1': only http and https are served",
    );
}
