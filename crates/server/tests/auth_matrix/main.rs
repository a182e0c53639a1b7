//! Every method × everybody × every way to ask, while authentication is on: `cargo xtask
//! auth-matrix`. Complete by the descriptors of the services: a method without a row fails.
#![expect(clippy::unwrap_used, reason = "in a test it fails the test")]
#![expect(clippy::too_many_lines, reason = "the rows are a table, and read best as one")]

#[path = "../server/common.rs"]
mod common;
mod rows;

use std::collections::BTreeSet;

use api::authpb;
use api::etcdserverpb::auth_client::AuthClient;
use api::etcdserverpb::{self as pb};
use common::{Node, bytes, one_with, within};
use rows::{Class, Row, rows};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// Who asks. Those who are refused come first: what is granted may change what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    NoToken,
    BadToken,
    ForeignToken,
    NoRole,
    OtherReader,
    Writer,
    Root,
}

const EVERYBODY: [Who; 7] = [
    Who::NoToken,
    Who::BadToken,
    Who::ForeignToken,
    Who::NoRole,
    Who::OtherReader,
    Who::Writer,
    Who::Root,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Done, or refused for another reason than who asks.
    Allowed,
    Denied,
    UserEmpty,
    InvalidToken,
}

fn expected(class: Class, who: Who) -> Outcome {
    match (class, who) {
        (Class::Nobody, _) | (_, Who::Root) => Outcome::Allowed,
        (_, Who::NoToken) => Outcome::UserEmpty,
        (_, Who::BadToken | Who::ForeignToken) => Outcome::InvalidToken,
        (Class::User, _) => Outcome::Allowed,
        (Class::Keys | Class::Recipe, Who::Writer) => Outcome::Allowed,
        (Class::Root | Class::Keys | Class::Recipe, _) => Outcome::Denied,
    }
}

fn outcome(class: Class, result: &Result<(), Status>) -> Outcome {
    let Err(status) = result else { return Outcome::Allowed };
    let (outcome, code) = match status.message() {
        text if text.ends_with("etcdserver: permission denied") => {
            (Outcome::Denied, Code::PermissionDenied)
        }
        text if text.ends_with("etcdserver: user name is empty") => {
            (Outcome::UserEmpty, Code::InvalidArgument)
        }
        text if text.ends_with("etcdserver: invalid auth token") => {
            (Outcome::InvalidToken, Code::Unauthenticated)
        }
        _ => return Outcome::Allowed,
    };
    let code = if class == Class::Recipe { Code::Unknown } else { code };
    assert_eq!(status.code(), code, "{status}");
    outcome
}

/// A cluster of one with authentication on, and a token for each who has one.
struct Matrix {
    node: Node,
    tokens: Vec<(Who, Option<String>)>,
}

fn user(name: &str) -> pb::AuthUserAddRequest {
    let name = name.to_owned();
    pb::AuthUserAddRequest { password: format!("{name}'s"), name, ..Default::default() }
}

fn permission(
    name: &str,
    key: &str,
    end: &str,
    perm_type: i32,
) -> pb::AuthRoleGrantPermissionRequest {
    let perm = authpb::Permission { perm_type, key: bytes(key), range_end: bytes(end) };
    pb::AuthRoleGrantPermissionRequest { name: name.to_owned(), perm: Some(perm) }
}

async fn sign_in(channel: &Channel, name: &str) -> String {
    let request = pb::AuthenticateRequest { name: name.to_owned(), password: format!("{name}'s") };
    AuthClient::new(channel.clone()).authenticate(request).await.unwrap().into_inner().token
}

async fn enable(channel: &Channel) {
    let mut auth = AuthClient::new(channel.clone());
    for name in ["root", "writer", "reader", "norole"] {
        auth.user_add(user(name)).await.unwrap();
    }
    for name in ["writer", "reader"] {
        auth.role_add(pb::AuthRoleAddRequest { name: name.to_owned() }).await.unwrap();
    }
    auth.role_grant_permission(permission("writer", "w", "x", 2)).await.unwrap();
    auth.role_grant_permission(permission("reader", "r", "s", 0)).await.unwrap();
    for name in ["root", "writer", "reader"] {
        let (user, role) = (name.to_owned(), name.to_owned());
        auth.user_grant_role(pb::AuthUserGrantRoleRequest { user, role }).await.unwrap();
    }
    auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap();
}

impl Matrix {
    async fn start() -> Self {
        let node = one_with(|options| options.bcrypt_cost = 4).await;
        enable(&node.channel).await;
        let mut matrix = Self { node, tokens: Vec::new() };
        matrix.sign_in_all().await;
        matrix
    }

    async fn sign_in_all(&mut self) {
        self.tokens.clear();
        for who in EVERYBODY {
            let token = match who {
                Who::NoToken => None,
                Who::BadToken => Some("no token at all".to_owned()),
                // Of the right form, and nobody's.
                Who::ForeignToken => Some("abcdefghijklmnop.3".to_owned()),
                Who::NoRole => Some(sign_in(&self.node.channel, "norole").await),
                Who::OtherReader => Some(sign_in(&self.node.channel, "reader").await),
                Who::Writer => Some(sign_in(&self.node.channel, "writer").await),
                Who::Root => Some(sign_in(&self.node.channel, "root").await),
            };
            self.tokens.push((who, token));
        }
    }

    fn token(&self, who: Who) -> Option<&str> {
        let found = self.tokens.iter().find(|(one, _)| *one == who);
        found.and_then(|(_, token)| token.as_deref())
    }

    /// What rows ask for: keys, and a lease that one of them is attached to.
    async fn prepare(&self) {
        let token = self.token(Who::Root);
        let lease = pb::LeaseGrantRequest { ttl: 600, id: rows::LEASE };
        // It may be there, and the alarm may refuse it.
        drop(self.node.lease().lease_grant(rows::signed(token, lease)).await);
        let put = pb::PutRequest { lease: rows::LEASE, ..rows::put("w") };
        drop(self.node.kv().put(rows::signed(token, put)).await);
    }

    async fn run(&self, when: &str) {
        for row in rows() {
            for who in EVERYBODY {
                self.prepare().await;
                let Row { path, how, class, call } = &row;
                let name = format!("{path} {how}, by {who:?}, {when}");
                let token = self.token(who).map(str::to_owned);
                let result = within(&name, call(self.node.channel.clone(), token)).await;
                assert_eq!(outcome(*class, &result), expected(*class, who), "{name}: {result:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_has_a_row() {
    let pool = prost_reflect::DescriptorPool::decode(api::DESCRIPTORS).unwrap();
    let described: BTreeSet<String> = pool
        .services()
        .flat_map(|service| {
            let name = service.full_name().to_owned();
            service.methods().map(|method| format!("/{name}/{}", method.name())).collect::<Vec<_>>()
        })
        .collect();
    let table: BTreeSet<String> = rows().iter().map(|row| row.path.to_owned()).collect();
    assert_eq!(table, described);
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_may_just_what_is_theirs() {
    let mut matrix = Matrix::start().await;
    matrix.run("as usual").await;
    let member_id = matrix.node.server.status().member_id;
    for alarm in [pb::AlarmType::Nospace, pb::AlarmType::Corrupt] {
        // AuthDisable is the last row: on again, and once more with an alarm, and that alone.
        let change = |action: pb::alarm_request::AlarmAction, alarm: pb::AlarmType| {
            let (action, alarm) = (action.into(), alarm.into());
            pb::AlarmRequest { action, member_id, alarm }
        };
        let clear = change(pb::alarm_request::AlarmAction::Deactivate, pb::AlarmType::None);
        matrix.node.maintenance().alarm(clear).await.unwrap();
        let mut auth = AuthClient::new(matrix.node.channel.clone());
        auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap();
        matrix.sign_in_all().await;
        matrix.prepare().await;
        let token = matrix.token(Who::Root).map(str::to_owned);
        let raise = change(pb::alarm_request::AlarmAction::Activate, alarm);
        let raise = rows::signed(token.as_deref(), raise);
        matrix.node.maintenance().alarm(raise).await.unwrap();
        matrix.run(&format!("with the alarm {alarm:?}")).await;
    }
    matrix.node.server.shutdown().await;
}

/// A member that starts again has users and roles, and no tokens.
#[tokio::test(flavor = "multi_thread")]
async fn everybody_may_just_what_is_theirs_after_a_restart() {
    let matrix = Matrix::start().await;
    matrix.prepare().await;
    let old = matrix.token(Who::Root).map(str::to_owned);
    let Node { dir, server, .. } = matrix.node;
    server.shutdown().await;
    let mut options = common::options("a", dir.path());
    options.bcrypt_cost = 4;
    let node = Node::start(dir, options).await;
    within("the member to be ready again", node.server.wait_ready()).await;
    let request = rows::signed(old.as_deref(), pb::AuthUserListRequest {});
    let refused = AuthClient::new(node.channel.clone()).user_list(request).await.unwrap_err();
    assert_eq!(refused.message(), "etcdserver: invalid auth token");
    let mut matrix = Matrix { node, tokens: Vec::new() };
    matrix.sign_in_all().await;
    matrix.run("after a restart").await;
    matrix.node.server.shutdown().await;
}

/// Whoever has no user and no token, and knows that, is let in once authentication is off.
#[tokio::test(flavor = "multi_thread")]
async fn with_authentication_off_a_token_means_nothing() {
    let node = one_with(|_| {}).await;
    let mut put = Request::new(rows::put("w"));
    put.metadata_mut().insert("token", "whatever".parse().unwrap());
    node.kv().put(put).await.unwrap();
    node.server.shutdown().await;
}
