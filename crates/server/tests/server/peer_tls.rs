//! TLS between members: three of them, and those who are none.

use std::path::Path;

use api::etcdserverpb as pb;
use api::etcdserverpb::cluster_client::ClusterClient;
use server::{ClusterState, Server, ServerOptions, TlsFiles};
use tempfile::TempDir;

use crate::certificates::Ca;
use crate::common::{Node, bytes, listener, options, within};

fn put(key: &str) -> pb::PutRequest {
    pb::PutRequest { key: bytes(key), value: bytes("v"), ..Default::default() }
}

/// Three members at `https://localhost:…`, with these files each.
async fn three(files: impl Fn(&Path, usize) -> TlsFiles) -> Vec<Node> {
    let peers: Vec<_> = (0..3).map(|_| listener()).collect();
    let url = |at: usize| format!("https://localhost:{}", peers[at].local_addr().unwrap().port());
    let entry = |at: usize| format!("n{at}={}", url(at));
    let initial_cluster = [0, 1, 2].map(entry).join(",");
    let mut nodes = Vec::new();
    for (at, peer) in peers.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let options = ServerOptions {
            peer_listener: Some(peer),
            peer_tls: files(dir.path(), at),
            initial_cluster: initial_cluster.clone(),
            ..options(&format!("n{at}"), dir.path())
        };
        nodes.push(Node::start(dir, options).await);
    }
    nodes
}

async fn ready(nodes: &[Node]) {
    for node in nodes {
        within("three members to be ready", node.server.wait_ready()).await;
    }
}

async fn end(nodes: Vec<Node>) {
    for node in nodes {
        node.server.shutdown().await;
    }
}

/// Starts a member that was added at this address, and says whether it gets ready.
async fn join(nodes: &[Node], dir: &TempDir, files: TlsFiles) -> Result<Node, server::StartError> {
    let peer = listener();
    let url = format!("https://localhost:{}", peer.local_addr().unwrap().port());
    let mut cluster = ClusterClient::new(nodes[0].channel.clone());
    let request = pb::MemberAddRequest { peer_ur_ls: vec![url.clone()], is_learner: true };
    let members = cluster.member_add(request).await.unwrap().into_inner().members;
    let known = members.iter().filter(|member| !member.name.is_empty());
    let known = known.map(|member| format!("{}={}", member.name, member.peer_ur_ls[0]));
    let entries: Vec<String> = known.chain([format!("n3={url}")]).collect();
    let options = ServerOptions {
        peer_listener: Some(peer),
        peer_tls: files,
        initial_cluster: entries.join(","),
        initial_cluster_state: ClusterState::Existing,
        ..options("n3", dir.path())
    };
    let server = Server::start(options).await?;
    let channel = nodes[0].channel.clone();
    Ok(Node { dir: tempfile::tempdir().unwrap(), server, channel })
}

#[tokio::test(flavor = "multi_thread")]
async fn members_speak_tls_and_one_that_joins_does_too() {
    let ca = Ca::new();
    let nodes = three(|dir, at| ca.write(dir, ca.sign(&format!("n{at}")))).await;
    ready(&nodes).await;
    nodes[0].kv().put(put("k")).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let files = ca.write(dir.path(), ca.sign("n3"));
    let newcomer = join(&nodes, &dir, files).await.unwrap();
    within("the newcomer to be ready", newcomer.server.wait_ready()).await;
    newcomer.server.shutdown().await;
    end(nodes).await;
}

/// A client's certificate is signed by the same authority, and its host is nobody's.
#[tokio::test(flavor = "multi_thread")]
async fn a_clients_certificate_makes_no_member() {
    let ca = Ca::new();
    let nodes = three(|dir, at| ca.write(dir, ca.sign(&format!("n{at}")))).await;
    ready(&nodes).await;
    let dir = tempfile::tempdir().unwrap();
    let files = ca.write(dir.path(), ca.sign_for("client", &["client.test"], 9));
    let error = join(&nodes, &dir, files).await.unwrap_err();
    assert_eq!(error.exit_code(), 18, "nobody tells it who the members are: {error}");
    end(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_those_that_the_options_name() {
    let ca = Ca::new();
    let named = |dir: &Path, common_name: &str, host: &str| {
        let files = ca.write(dir, ca.sign_for(common_name, &["localhost", host], 1));
        let allowed_cns = vec!["member".to_owned()];
        TlsFiles { allowed_cns, allowed_hostnames: vec!["m.test".to_owned()], ..files }
    };
    let nodes = three(|dir, _| named(dir, "member", "m.test")).await;
    ready(&nodes).await;
    nodes[0].kv().put(put("k")).await.unwrap();
    for (common_name, host) in [("other", "m.test"), ("member", "other.test")] {
        let dir = tempfile::tempdir().unwrap();
        let error = join(&nodes, &dir, named(dir.path(), common_name, host)).await.unwrap_err();
        assert_eq!(error.exit_code(), 18, "{common_name} {host}: {error}");
        remove_waiting(&nodes).await;
    }
    end(nodes).await;
}

/// Takes the learner back that never came.
async fn remove_waiting(nodes: &[Node]) {
    let mut cluster = ClusterClient::new(nodes[0].channel.clone());
    let list = pb::MemberListRequest { linearizable: true };
    let members = cluster.member_list(list).await.unwrap().into_inner().members;
    let waiting = members.iter().find(|member| member.is_learner).unwrap();
    cluster.member_remove(pb::MemberRemoveRequest { id: waiting.id }).await.unwrap();
}

/// The list of what is revoked counts at the peer port, and while the member runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_certificate_is_revoked_is_cut_off() {
    let ca = Ca::new();
    let nodes = three(|dir, at| {
        let serial = u64::try_from(at).unwrap() + 1;
        let files = ca.write(dir, ca.sign_for(&format!("n{at}"), &["localhost"], serial));
        std::fs::write(dir.join("crl.pem"), ca.revoke(&[99])).unwrap();
        TlsFiles { crl_file: Some(dir.join("crl.pem")), ..files }
    })
    .await;
    ready(&nodes).await;
    nodes[0].kv().put(put("before")).await.unwrap();
    for node in &nodes {
        std::fs::write(node.dir.path().join("crl.pem"), ca.revoke(&[3])).unwrap();
    }
    // Whoever it leads or follows: it hears nothing that the others write, and cannot say what is.
    let is_cut_off = async || {
        let range = pb::RangeRequest { key: bytes("k"), ..Default::default() };
        nodes[2].kv().range(range).await.is_err()
    };
    within("the member to be cut off", async { while !is_cut_off().await {} }).await;
    let others = async { while nodes[1].kv().put(put("after")).await.is_err() {} };
    within("the others to go on", others).await;
    end(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_members_make_themselves_are_enough_to_talk() {
    let auto = |_: &Path, _: usize| TlsFiles { auto_tls: true, ..TlsFiles::default() };
    let nodes = three(auto).await;
    ready(&nodes).await;
    nodes[0].kv().put(put("k")).await.unwrap();
    end(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_for_https_is_named() {
    let ca = Ca::new();
    let start = async |change: &dyn Fn(&mut ServerOptions)| {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options("a", dir.path());
        options.peer_tls = ca.write(dir.path(), ca.sign("a"));
        change(&mut options);
        Server::start(options).await.unwrap_err().to_string()
    };
    let text = start(&|options| options.peer_tls.trusted_ca_file = None).await;
    assert!(text.contains("--peer-trusted-ca-file"), "{text}");
    let text = start(&|options| {
        options.peer_tls = TlsFiles::default();
        options.initial_cluster = "a=https://localhost:1".to_owned();
    })
    .await;
    assert!(text.contains("--peer-cert-file"), "{text}");
    let text = start(&|options| {
        options.peer_listener = None;
        options.listen_peer_urls = vec!["http://0.0.0.0:0".to_owned()];
    })
    .await;
    assert!(text.contains("--allow-plaintext") && text.contains("0.0.0.0"), "{text}");
}
