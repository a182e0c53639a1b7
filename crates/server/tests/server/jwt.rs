//! Signed tokens.

use api::etcdserverpb as pb;
use api::etcdserverpb::auth_client::AuthClient;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::hmac;
use server::{Server, ServerOptions};
use tonic::{Code, Request};

use crate::common::{bytes, one_with, options, three_with, within};
use crate::users::{signed, turn_on};

const SECRET: &[u8] = b"a secret that is long enough for anybody";

fn jwt(dir: &std::path::Path) -> String {
    let file = dir.join("secret");
    std::fs::write(&file, SECRET).unwrap();
    format!("jwt,sign-method=HS256,priv-key={},ttl=10m", file.display())
}

async fn sign_in(auth: &mut AuthClient<tonic::transport::Channel>, name: &str) -> String {
    let request = pb::AuthenticateRequest { name: name.to_owned(), password: "pw".to_owned() };
    auth.authenticate(request).await.unwrap().into_inner().token
}

fn put(token: &str) -> Request<pb::PutRequest> {
    let put = pb::PutRequest { key: bytes("k"), value: bytes("v"), ..Default::default() };
    signed(token, put)
}

/// A token that says this, signed as it should be.
fn forged(claims: &str) -> String {
    let part = |json: &str| BASE64_URL_SAFE_NO_PAD.encode(json);
    let signed = format!("{}.{}", part(r#"{"alg":"HS256","typ":"JWT"}"#), part(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let signature = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_token_counts_at_every_member_until_users_change() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = three_with(|options| {
        options.auth_token = jwt(dir.path());
        options.bcrypt_cost = 4;
    })
    .await;
    let mut auth = AuthClient::new(nodes[0].channel.clone());
    turn_on(&mut auth, Some("pw")).await;
    let token = sign_in(&mut auth, "root").await;
    assert_eq!(token.split('.').count(), 3, "{token}");
    for node in &nodes {
        node.kv().put(put(&token)).await.unwrap();
    }
    let alices = sign_in(&mut auth, "alice").await;
    let denied = nodes[1].kv().put(put(&alices)).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    // Users change: whoever signed in before does so again, as clients of etcd do by themselves.
    let name = "bob".to_owned();
    let user = pb::AuthUserAddRequest { name, password: "pw".to_owned(), ..Default::default() };
    auth.user_add(signed(&token, user)).await.unwrap();
    let old = nodes[0].kv().put(put(&token)).await.unwrap_err();
    assert_eq!(
        (old.code(), old.message()),
        (Code::InvalidArgument, "etcdserver: revision of auth store is old")
    );
    let token = sign_in(&mut auth, "root").await;
    nodes[2].kv().put(put(&token)).await.unwrap();
    for node in nodes {
        node.server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_none_or_has_ended_is_refused_in_etcds_words() {
    let dir = tempfile::tempdir().unwrap();
    let node = one_with(|options| {
        options.auth_token = jwt(dir.path());
        options.bcrypt_cost = 4;
    })
    .await;
    let mut auth = AuthClient::new(node.channel.clone());
    turn_on(&mut auth, Some("pw")).await;
    let status = auth.auth_status(pb::AuthStatusRequest {}).await.unwrap().into_inner();
    let revision = status.auth_revision;
    let claims = |revision: u64, exp: u64| {
        format!(r#"{{"username":"root","revision":{revision},"exp":{exp}}}"#)
    };
    node.kv().put(put(&forged(&claims(revision, 4_000_000_000)))).await.unwrap();
    let ended = forged(&claims(revision, 1));
    let of_the_future = forged(&claims(revision + 1, 4_000_000_000));
    let simple = "abcdefghijklmnop.12".to_owned();
    for token in [ended, of_the_future, simple, "x.y.z".to_owned()] {
        let refused = node.kv().put(put(&token)).await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::Unauthenticated, "etcdserver: invalid auth token"),
            "{token}"
        );
    }
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_option_that_makes_no_tokens_ends_the_start() {
    let dir = tempfile::tempdir().unwrap();
    for (auth_token, part) in [
        ("jwt", "sign-method"),
        ("jwt,sign-method=RS256,pub-key=/no/such", "/no/such"),
        ("magic", "simple"),
    ] {
        let options =
            ServerOptions { auth_token: auth_token.to_owned(), ..options("a", dir.path()) };
        let error = within("an answer", Server::start(options)).await.unwrap_err();
        assert_eq!(error.exit_code(), 10);
        assert!(error.to_string().contains(part), "{error}");
    }
}
