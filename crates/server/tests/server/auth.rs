//! Signing in, and what becomes of tokens and watchers when users and roles change.

use api::authpb;
use api::etcdserverpb::auth_client::AuthClient;
use api::etcdserverpb::{self as pb};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::common::{Node, bytes, check, one_with, three, within};
use crate::users::{signed, turn_on};

fn put(key: &str) -> pb::PutRequest {
    pb::PutRequest { key: bytes(key), value: bytes("v"), ..pb::PutRequest::default() }
}

struct Admin {
    auth: AuthClient<Channel>,
    token: String,
}

impl Admin {
    /// Root and alice, who may do everything with `a…`; authentication is on.
    async fn enable(node: &Node) -> Self {
        let mut auth = AuthClient::new(node.channel.clone());
        turn_on(&mut auth, Some("secret")).await;
        let mut admin = Self { auth, token: String::new() };
        admin.token = admin.sign_in("root", "secret").await.unwrap();
        admin
    }

    async fn sign_in(&mut self, name: &str, password: &str) -> Result<String, Status> {
        let (name, password) = (name.to_owned(), password.to_owned());
        let request = pb::AuthenticateRequest { name, password };
        Ok(self.auth.authenticate(request).await?.into_inner().token)
    }
}

async fn node() -> Node {
    one_with(|options| options.bcrypt_cost = 4).await
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_checked_and_their_change_ends_tokens() {
    let node = node().await;
    let mut admin = Admin::enable(&node).await;
    let wrong = "etcdserver: authentication failed, invalid user ID or password";
    let refused = admin.sign_in("alice", "other").await.unwrap_err();
    check(&refused, Code::InvalidArgument, wrong);
    let refused = admin.sign_in("nobody", "secret").await.unwrap_err();
    check(&refused, Code::InvalidArgument, wrong);
    let refused = admin.sign_in("alice", &"x".repeat(100)).await.unwrap_err();
    check(&refused, Code::InvalidArgument, wrong);
    let token = admin.sign_in("alice", "secret").await.unwrap();
    node.kv().put(signed(&token, put("a"))).await.unwrap();
    let refused = node.kv().put(signed(&token, put("b"))).await.unwrap_err();
    check(&refused, Code::PermissionDenied, "etcdserver: permission denied");
    let refused = node.kv().put(put("a")).await.unwrap_err();
    check(&refused, Code::InvalidArgument, "etcdserver: user name is empty");
    let change = |password: String| pb::AuthUserChangePasswordRequest {
        name: "alice".to_owned(),
        password,
        ..Default::default()
    };
    let request = signed(&admin.token, change("x".repeat(73)));
    let refused = admin.auth.user_change_password(request).await.unwrap_err();
    check(&refused, Code::Unknown, "bcrypt: password length exceeds 72 bytes");
    let request = signed(&admin.token, change("new".to_owned()));
    admin.auth.user_change_password(request).await.unwrap();
    let refused = node.kv().put(signed(&token, put("a"))).await.unwrap_err();
    check(&refused, Code::Unauthenticated, "etcdserver: invalid auth token");
    assert!(admin.sign_in("alice", "secret").await.is_err());
    let token = admin.sign_in("alice", "new").await.unwrap();
    node.kv().put(signed(&token, put("a"))).await.unwrap();
    // The header that JSON clients send, with and without the word before it.
    for value in [token.clone(), format!("Bearer {token}")] {
        let mut request = Request::new(put("a"));
        request.metadata_mut().insert("authorization", value.parse().unwrap());
        node.kv().put(request).await.unwrap();
    }
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_may_come_hashed_and_a_user_may_have_none() {
    let node = node().await;
    let mut admin = Admin::enable(&node).await;
    // "swordfish", by another program.
    let hash = "JDJhJDA0JDEyMzQ1Njc4OTAxMjM0NTY3ODkwMXV5c3cvM3VKZXQyY1hNZDVLUDZwb2tOQ3ZFSUNmaUY2";
    let hashed = pb::AuthUserAddRequest {
        name: "bob".to_owned(),
        hashed_password: hash.to_owned(),
        ..Default::default()
    };
    admin.auth.user_add(signed(&admin.token.clone(), hashed)).await.unwrap();
    assert!(admin.sign_in("bob", "swordfis").await.is_err());
    admin.sign_in("bob", "swordfish").await.unwrap();
    let none = pb::AuthUserAddRequest {
        name: "cert".to_owned(),
        options: Some(authpb::UserAddOptions { no_password: true }),
        ..Default::default()
    };
    admin.auth.user_add(signed(&admin.token.clone(), none)).await.unwrap();
    let refused = admin.sign_in("cert", "").await.unwrap_err();
    let text = "auth: authentication failed, password was given for no password user";
    check(&refused, Code::Unknown, text);
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_one_member_is_good_at_the_others_at_once() {
    let nodes = three().await;
    let mut admin = Admin::enable(&nodes[0]).await;
    for round in 0..5 {
        let token = admin.sign_in("alice", "secret").await.unwrap();
        for node in &nodes {
            let key = format!("a{round}");
            node.kv().put(signed(&token, put(&key))).await.unwrap();
        }
        // An index that no entry has yet is no reason to wait for it.
        let future = format!("{}.999999999", &token[..16]);
        let refused = nodes[1].kv().put(signed(&future, put("a"))).await.unwrap_err();
        check(&refused, Code::Unauthenticated, "etcdserver: invalid auth token");
    }
    for node in nodes {
        node.server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_used_expires() {
    let node = one_with(|options| {
        options.bcrypt_cost = 4;
        options.auth_token_ttl_secs = 1;
    })
    .await;
    let mut admin = Admin::enable(&node).await;
    let token = admin.sign_in("alice", "secret").await.unwrap();
    node.kv().put(signed(&token, put("a"))).await.unwrap();
    let gone = async {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
            if let Err(status) = node.kv().put(signed(&token, put("a"))).await {
                return status;
            }
        }
    };
    let refused = within("the token to expire", gone).await;
    check(&refused, Code::Unauthenticated, "etcdserver: invalid auth token");
    node.server.shutdown().await;
}

/// A watcher ends when the permission goes, and when authentication comes; its stream lives on.
#[tokio::test(flavor = "multi_thread")]
async fn watchers_end_with_their_permission() {
    let node = node().await;
    let (requests, stream) = tokio::sync::mpsc::channel(16);
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let mut before = node.watch().watch(stream).await.unwrap().into_inner();
    let create = |key: &str, range_end: &str| {
        let (key, range_end) = (bytes(key), bytes(range_end));
        let create = pb::WatchCreateRequest { key, range_end, ..Default::default() };
        let request_union = Some(pb::watch_request::RequestUnion::CreateRequest(create));
        pb::WatchRequest { request_union }
    };
    requests.send(create("a", "")).await.unwrap();
    assert!(before.message().await.unwrap().unwrap().created);
    let mut admin = Admin::enable(&node).await;
    let ended = within("the watcher to end", before.message()).await.unwrap().unwrap();
    assert!(ended.canceled && !ended.created, "{ended:?}");
    let reason = "rpc error: code = InvalidArgument desc = etcdserver: user name is empty";
    assert_eq!(ended.cancel_reason, reason);

    let token = admin.sign_in("alice", "secret").await.unwrap();
    let (requests, stream) = tokio::sync::mpsc::channel(16);
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let mut answers = node.watch().watch(signed(&token, stream)).await.unwrap().into_inner();
    let denied = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
    // GHSA-xg4h-6gfc-h4m8: open ends and empty keys are ranges too.
    for (key, end) in [("a", "c"), ("a", "\0"), ("", "\0"), ("", ""), ("b", "")] {
        requests.send(create(key, end)).await.unwrap();
        let answer = answers.message().await.unwrap().unwrap();
        assert!(answer.created && answer.canceled && answer.watch_id == -1, "{answer:?}");
        assert_eq!(answer.cancel_reason, denied, "{key:?} to {end:?}");
    }
    requests.send(create("a", "b")).await.unwrap();
    let created = answers.message().await.unwrap().unwrap();
    assert!(created.created && !created.canceled, "the stream lives on: {created:?}");
    node.kv().put(signed(&token, put("a1"))).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().events.len(), 1);
    let revoke = pb::AuthUserRevokeRoleRequest { name: "alice".to_owned(), role: "a".to_owned() };
    admin.auth.user_revoke_role(signed(&admin.token.clone(), revoke)).await.unwrap();
    node.kv().put(signed(&admin.token, put("a2"))).await.unwrap();
    let ended = within("the watcher to end", answers.message()).await.unwrap().unwrap();
    assert!(ended.canceled && ended.events.is_empty(), "{ended:?}");
    assert_eq!((ended.watch_id, ended.cancel_reason.as_str()), (created.watch_id, denied));
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_ends_by_itself_while_authentication_is_on() {
    let node = node().await;
    let mut admin = Admin::enable(&node).await;
    let token = admin.sign_in("alice", "secret").await.unwrap();
    let grant = signed(&token, pb::LeaseGrantRequest { ttl: 1, id: 9 });
    node.lease().lease_grant(grant).await.unwrap();
    node.kv().put(signed(&token, pb::PutRequest { lease: 9, ..put("a") })).await.unwrap();
    let left = within("the lease to end", async {
        loop {
            let range = pb::RangeRequest { key: bytes("a"), ..Default::default() };
            let read = node.kv().range(signed(&token, range)).await.unwrap().into_inner();
            if read.count == 0 {
                return read.count;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(left.await, 0);
    node.server.shutdown().await;
}
