//! TLS between two nodes over loopback: whose certificate lets in.

use std::sync::Arc;
use std::time::Duration;

use env::Net;
use raft::{Configuration, LogIndex, NodeId};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use wal::GroupId;

use super::inquiry::ask_members;
use super::tests::{
    CLUSTER, Node, ONE, TWO, frame, frame_of_messages, node_with, receive_upto, send_until_taken,
};
use super::tls::names;
use super::{Admission, PeerCertificates, PeerTls, TcpNet};
use crate::mailbox::Mailbox;
use crate::members::MemberAttributes;
use crate::peers::Peers;
use crate::{GroupConfiguration, PeerAddresses};

const GROUP: GroupId = GroupId(1);

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("signed").der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// Certificates of somebody with these subject alternative names.
    fn sign(&self, names: &[&str]) -> PeerCertificates {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let certificate = CertificateParams::new(names).expect("names");
        let certificate = certificate.signed_by(&key, &self.issuer).expect("signed");
        let chain = vec![certificate.der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a root");
        let roots = Arc::new(roots);
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
                .expect("roots");
        let accept = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .expect("a certificate");
        let connect = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .expect("a certificate");
        PeerCertificates { accept: Arc::new(accept), connect: Arc::new(connect) }
    }

    fn tls(&self, names: &[&str]) -> Arc<PeerTls> {
        Arc::new(PeerTls::new(Admission::Members, self.sign(names)))
    }
}

/// A configuration of members at these peer URLs.
fn configuration(members: &[(NodeId, &str)]) -> GroupConfiguration {
    let mut configuration = Configuration::default();
    for (node, url) in members {
        let peer_urls = vec![(*url).to_owned()];
        let attributes = MemberAttributes { peer_urls, ..MemberAttributes::default() };
        configuration.voters.insert(*node);
        configuration.attributes.insert(*node, attributes.encode());
    }
    GroupConfiguration { index: LogIndex(1), is_committed: true, configuration }
}

fn listening(id: NodeId, tls: Arc<PeerTls>, members: &[(NodeId, &str)]) -> Node {
    let peers = Arc::new(Peers::new(id, Vec::new(), PeerAddresses::new()));
    peers.follow(GROUP, configuration(members), configuration(members));
    node_with(CLUSTER, "localhost:0", peers, Some(tls))
}

fn net_to(node: &Node, tls: Option<Arc<PeerTls>>) -> Arc<TcpNet> {
    let port = node.address.rsplit_once(':').expect("a port").1;
    let scheme = if tls.is_some() { "https://" } else { "" };
    let addresses = vec![format!("{scheme}localhost:{port}")];
    TcpNet::start(CLUSTER, ONE, &[(TWO, addresses)].into(), tls).expect("a thread")
}

#[track_caller]
fn never_connects(node: &Node, net: &TcpNet) {
    let pause = Mailbox::<()>::default();
    for sequence in 1..20 {
        assert!(!net.send(TWO.0, frame(CLUSTER, sequence)), "it must not be let in");
        pause.wait(Some(Duration::from_millis(3)), None);
    }
    assert!(node.inbox.is_empty());
}

#[test]
fn members_are_let_in_by_the_host_of_their_peer_url() {
    let ca = Authority::new();
    let node = listening(TWO, ca.tls(&["localhost"]), &[(ONE, "https://one.test:1")]);
    let net = net_to(&node, Some(ca.tls(&["one.test"])));
    let mut sequence = 0;
    send_until_taken(&net, &mut sequence);
    let first = sequence;
    for _ in 0..500 {
        sequence += 1;
        assert!(net.send(TWO.0, frame(CLUSTER, sequence)), "connected and the queue is short");
    }
    assert_eq!(receive_upto(&node, sequence), (first..=sequence).collect::<Vec<_>>());
}

/// Large frames are encrypted by the link's thread, small ones by whoever sends: none overtakes.
#[test]
fn frames_of_every_size_arrive_in_order() {
    let ca = Authority::new();
    let node = listening(TWO, ca.tls(&["localhost"]), &[(ONE, "https://one.test:1")]);
    let net = net_to(&node, Some(ca.tls(&["one.test"])));
    let mut sequence = 0;
    send_until_taken(&net, &mut sequence);
    let first = sequence;
    for round in 0..60 {
        sequence += 1;
        let message_count = [1, 9_000, 1, 300][round % 4];
        assert!(net.send(TWO.0, frame_of_messages(message_count, sequence)), "the queue is short");
    }
    let mut terms = receive_upto(&node, sequence);
    terms.dedup();
    assert_eq!(terms, (first..=sequence).collect::<Vec<_>>());
}

#[test]
fn a_clients_certificate_of_the_same_authority_is_not_let_in() {
    let ca = Authority::new();
    let members = [(ONE, "https://one.test:1"), (NodeId(3), "https://three.test:1")];
    let node = listening(TWO, ca.tls(&["localhost"]), &members);
    for names in [&["client.test"][..], &[], &["three.test"]] {
        never_connects(&node, &net_to(&node, Some(ca.tls(names))));
    }
    let stranger = Authority::new();
    never_connects(&node, &net_to(&node, Some(stranger.tls(&["one.test"]))));
    never_connects(&node, &net_to(&node, None));
}

#[test]
fn one_that_answers_under_another_name_is_not_spoken_to() {
    let ca = Authority::new();
    let node = listening(TWO, ca.tls(&["two.test"]), &[(ONE, "https://one.test:1")]);
    never_connects(&node, &net_to(&node, Some(ca.tls(&["one.test"]))));
}

/// T103: a peer that did not answer at its address for TLS was called at the one for plaintext that
/// it had before.
#[test]
fn a_peer_with_an_address_for_tls_is_never_called_in_plaintext() {
    let ca = Authority::new();
    let peers = Arc::new(Peers::new(TWO, Vec::new(), PeerAddresses::new()));
    let plain = node_with(CLUSTER, "localhost:0", peers, None);
    let gone = {
        let node = listening(TWO, ca.tls(&["localhost"]), &[(ONE, "https://one.test:1")]);
        node.address.rsplit_once(':').expect("a port").1.to_owned()
    };
    let addresses = vec![format!("https://localhost:{gone}"), plain.address.clone()];
    let peers = [(TWO, addresses)].into();
    let net = TcpNet::start(CLUSTER, ONE, &peers, Some(ca.tls(&["one.test"]))).expect("a thread");
    never_connects(&plain, &net);
}

/// A node that was away may be called by a leader that it has never heard of. It asks those that it
/// knows; without that it would never hear of anything again.
#[test]
fn a_member_that_was_added_meanwhile_is_asked_about() {
    let ca = Authority::new();
    let three = NodeId(3);
    let knows = listening(
        three,
        ca.tls(&["localhost"]),
        &[(ONE, "https://one.test:1"), (TWO, "https://localhost:1")],
    );
    let url = format!("https://localhost:{}", knows.address.rsplit_once(':').expect("a port").1);
    let node = listening(TWO, ca.tls(&["localhost"]), &[(three, &url)]);
    let net = net_to(&node, Some(ca.tls(&["one.test"])));
    let mut sequence = 0;
    send_until_taken(&net, &mut sequence);
    receive_upto(&node, sequence);
    drop(net);
    never_connects(&node, &net_to(&node, Some(ca.tls(&["client.test"]))));
}

#[test]
fn only_members_are_told_who_the_members_are() {
    let ca = Authority::new();
    let node = listening(TWO, ca.tls(&["localhost"]), &[(ONE, "https://one.test:1")]);
    let address = format!("https://localhost:{}", node.address.rsplit_once(':').expect("a port").1);
    let ask =
        |names: &[&str]| ask_members(&address, GROUP, Duration::from_secs(5), Some(&ca.tls(names)));
    assert_eq!(ask(&["one.test"]).expect("a member").cluster_id, CLUSTER);
    assert!(ask(&["client.test"]).is_err());
    assert!(ask_members(&address, GROUP, Duration::from_secs(5), None).is_err());
}

#[test]
fn connections_are_made_anew_with_new_certificates() {
    let (old, new) = (Authority::new(), Authority::new());
    let accepting = old.tls(&["localhost"]);
    let node = listening(TWO, Arc::clone(&accepting), &[(ONE, "https://one.test:1")]);
    let calling = old.tls(&["one.test"]);
    let net = net_to(&node, Some(Arc::clone(&calling)));
    let mut sequence = 0;
    send_until_taken(&net, &mut sequence);
    receive_upto(&node, sequence);
    accepting.replace(new.sign(&["localhost"]));
    // The old certificate is no longer good, and the connection that it opened does not outlive it.
    let pause = Mailbox::<()>::default();
    let closed = (0..2_000).any(|_| {
        sequence += 1;
        pause.wait(Some(Duration::from_millis(5)), None);
        !net.send(TWO.0, frame(CLUSTER, sequence))
    });
    assert!(closed, "the connection must end");
    calling.replace(new.sign(&["one.test"]));
    send_until_taken(&net, &mut sequence);
    receive_upto(&node, sequence);
}

#[test]
fn names_are_those_of_the_certificate_and_no_others() {
    let ca = Authority::new();
    let of = |names: &[&str]| {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let params = CertificateParams::new(names).expect("names");
        params.signed_by(&key, &ca.issuer).expect("signed").der().clone()
    };
    let check = |has: &[&str], host: &str, expect: bool| {
        assert_eq!(names(&of(has), host), expect, "{has:?} {host}");
    };
    check(&["10.0.0.1"], "10.0.0.1", true);
    check(&["::1"], "[::1]", true);
    check(&["10.0.0.1"], "10.0.0.2", false);
    check(&["a.test"], "a.test", true);
    check(&["*.a.test"], "x.a.test", true);
    check(&["a.test"], "b.a.test", false);
    check(&[], "a.test", false);
    check(&["a.test"], "", false);
}

/// What the listening socket of a plaintext port makes of a TLS handshake: it is no greeting.
#[test]
fn a_handshake_at_a_port_for_plaintext_ends() {
    let ca = Authority::new();
    let peers = Arc::new(Peers::new(TWO, Vec::new(), PeerAddresses::new()));
    let node = node_with(CLUSTER, "localhost:0", peers, None);
    never_connects(&node, &net_to(&node, Some(ca.tls(&["localhost"]))));
}
