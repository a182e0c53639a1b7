//! Members in this process, on ports that the system chose, and clients for them.
#![allow(dead_code, reason = "each test target uses a part of this")]

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use api::etcdserverpb as pb;
use api::etcdserverpb::kv_client::KvClient;
use api::etcdserverpb::lease_client::LeaseClient;
use api::etcdserverpb::maintenance_client::MaintenanceClient;
use api::etcdserverpb::watch_client::WatchClient;
use bytes::Bytes;
use server::{RunningServer, Server, ServerOptions};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// A member and the folder that it keeps.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) dir: TempDir,
    pub(crate) server: RunningServer,
    pub(crate) channel: Channel,
}

impl Node {
    pub(crate) async fn start(dir: TempDir, options: ServerOptions) -> Self {
        let server = Server::start(options).await.unwrap();
        let channel = connect(&server);
        Self { dir, server, channel }
    }

    pub(crate) fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone())
    }

    pub(crate) fn watch(&self) -> WatchClient<Channel> {
        WatchClient::new(self.channel.clone())
    }

    pub(crate) fn lease(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.channel.clone())
    }

    pub(crate) fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel.clone())
    }

    /// A plain request; returns status and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.server.client_address()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }
}

/// Another connection.
pub(crate) fn connect(server: &RunningServer) -> Channel {
    let url = format!("http://{}", server.client_address());
    Channel::from_shared(url).unwrap().connect_lazy()
}

pub(crate) fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

pub(crate) fn options(name: &str, dir: &Path) -> ServerOptions {
    ServerOptions {
        name: name.to_owned(),
        data_dir: dir.join("data"),
        client_listener: Some(listener()),
        peer_listener: Some(listener()),
        heartbeat_interval_ms: 20,
        election_timeout_ms: 200,
        ..ServerOptions::default()
    }
}

/// A cluster of one, ready.
pub(crate) async fn one() -> Node {
    one_with(|_| {}).await
}

/// The same with other options.
pub(crate) async fn one_with(change: impl FnOnce(&mut ServerOptions)) -> Node {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options("a", dir.path());
    change(&mut options);
    let node = Node::start(dir, options).await;
    within("the only member to be ready", node.server.wait_ready()).await;
    node
}

/// A cluster of three, ready.
pub(crate) async fn three() -> Vec<Node> {
    three_with(|_| {}).await
}

/// The same with other options.
pub(crate) async fn three_with(change: impl Fn(&mut ServerOptions)) -> Vec<Node> {
    let names = ["a", "b", "c"];
    let peers: Vec<TcpListener> = names.iter().map(|_| listener()).collect();
    let initial_cluster = names
        .iter()
        .zip(&peers)
        .map(|(name, peer)| format!("{name}=http://{}", peer.local_addr().unwrap()))
        .collect::<Vec<_>>()
        .join(",");
    let mut nodes = Vec::new();
    for (name, peer) in names.into_iter().zip(peers) {
        let dir = tempfile::tempdir().unwrap();
        let mut options = ServerOptions {
            peer_listener: Some(peer),
            initial_cluster: initial_cluster.clone(),
            ..options(name, dir.path())
        };
        change(&mut options);
        nodes.push(Node::start(dir, options).await);
    }
    for node in &nodes {
        within("three members to be ready", node.server.wait_ready()).await;
    }
    nodes
}

/// Fails instead of waiting for ever.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(30), future).await {
        Ok(value) => value,
        Err(_) => panic!("waited 30 s for {what}"),
    }
}

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(crate) fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest { key: bytes(key), value: bytes(value), ..pb::PutRequest::default() }
}

pub(crate) fn range(key: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: bytes(key), ..pb::RangeRequest::default() }
}

#[track_caller]
pub(crate) fn check(status: &Status, code: Code, text: &str) {
    assert_eq!((status.code(), status.message()), (code, text));
}
