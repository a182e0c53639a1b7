//! TLS on the client port.

use std::path::Path;

use api::etcdserverpb::auth_client::AuthClient;
use api::etcdserverpb::kv_client::KvClient;
use api::etcdserverpb::{self as pb};
use server::{RunningServer, Server};
use tempfile::TempDir;
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::certificates::Ca;
use crate::common::{bytes, options, within};
use crate::users::turn_on;

fn write(dir: &Path, ca: &Ca) {
    let (cert, key) = ca.sign("server");
    std::fs::write(dir.join("cert.pem"), cert).unwrap();
    std::fs::write(dir.join("key.pem"), key).unwrap();
}

async fn start(dir: &TempDir, ca: Option<&Ca>) -> RunningServer {
    let mut options = options("a", dir.path());
    options.bcrypt_cost = 4;
    options.client_tls.cert_file = Some(dir.path().join("cert.pem"));
    options.client_tls.key_file = Some(dir.path().join("key.pem"));
    if let Some(ca) = ca {
        std::fs::write(dir.path().join("ca.pem"), &ca.pem).unwrap();
        options.client_tls.trusted_ca_file = Some(dir.path().join("ca.pem"));
        options.client_tls.client_cert_auth = true;
    }
    let server = Server::start(options).await.unwrap();
    within("the member to be ready", server.wait_ready()).await;
    server
}

async fn connect(
    server: &RunningServer,
    ca: &Ca,
    identity: Option<(String, String)>,
) -> Result<Channel, tonic::transport::Error> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&ca.pem))
        .domain_name("localhost");
    if let Some((cert, key)) = identity {
        tls = tls.identity(Identity::from_pem(cert, key));
    }
    let endpoint = Endpoint::from_shared(format!("https://{}", server.client_address())).unwrap();
    endpoint.tls_config(tls)?.connect().await
}

fn put(key: &str) -> pb::PutRequest {
    pb::PutRequest { key: bytes(key), value: bytes("v"), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_served_over_tls_and_nothing_else() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    write(dir.path(), &ca);
    let server = start(&dir, None).await;
    assert!(server.status().client_urls[0].starts_with("https://"));
    let channel = connect(&server, &ca, None).await.unwrap();
    KvClient::new(channel).put(put("k")).await.unwrap();
    assert!(connect(&server, &Ca::new(), None).await.is_err(), "another CA");
    let plain = Endpoint::from_shared(format!("http://{}", server.client_address())).unwrap();
    let refused = match plain.connect().await {
        Ok(channel) => KvClient::new(channel).put(put("k")).await.is_err(),
        Err(_) => true,
    };
    assert!(refused, "plaintext on a port for TLS");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_certificates_are_taken_up_while_it_runs() {
    let (dir, old, new) = (tempfile::tempdir().unwrap(), Ca::new(), Ca::new());
    write(dir.path(), &old);
    let server = start(&dir, None).await;
    let channel = connect(&server, &old, None).await.unwrap();
    // Half of a change, as who copies files makes it: what is in use stays in use.
    std::fs::write(dir.path().join("cert.pem"), "nothing").unwrap();
    KvClient::new(channel.clone()).put(put("k")).await.unwrap();
    write(dir.path(), &new);
    within("the new certificate", async {
        while connect(&server, &new, None).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(connect(&server, &old, None).await.is_err());
    KvClient::new(channel).put(put("k")).await.unwrap();
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_asked_for_and_its_name_is_a_user() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    write(dir.path(), &ca);
    let server = start(&dir, Some(&ca)).await;
    let without = match connect(&server, &ca, None).await {
        Ok(channel) => KvClient::new(channel).put(put("a")).await.is_err(),
        Err(_) => true,
    };
    assert!(without, "no certificate");
    let foreign = match connect(&server, &ca, Some(Ca::new().sign("root"))).await {
        Ok(channel) => KvClient::new(channel).put(put("a")).await.is_err(),
        Err(_) => true,
    };
    assert!(foreign, "a certificate of another CA");

    let alice = connect(&server, &ca, Some(ca.sign("alice"))).await.unwrap();
    let mut auth = AuthClient::new(alice.clone());
    turn_on(&mut auth, None).await;
    let mut kv = KvClient::new(alice.clone());
    kv.put(put("a")).await.unwrap();
    assert_eq!(kv.put(put("b")).await.unwrap_err().code(), Code::PermissionDenied);
    let mut with_token = tonic::Request::new(put("a"));
    with_token.metadata_mut().insert("token", "whatever".parse().unwrap());
    let refused = kv.put(with_token).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "a token wins, also one that is no good");
    let nobody = connect(&server, &ca, Some(ca.sign("nobody"))).await.unwrap();
    let refused = KvClient::new(nobody).put(put("a")).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let root = connect(&server, &ca, Some(ca.sign("root"))).await.unwrap();
    let mut root = AuthClient::new(root);
    assert_eq!(
        root.user_list(pb::AuthUserListRequest {}).await.unwrap().into_inner().users.len(),
        2
    );
    server.shutdown().await;
}

/// The list of what is revoked counts at the client port, too, and while the member runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_certificate_is_revoked_is_not_let_in() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    std::fs::write(dir.path().join("crl.pem"), ca.revoke(&[7])).unwrap();
    let mut options = options("a", dir.path());
    let files = ca.write(dir.path(), ca.sign("server"));
    let crl_file = Some(dir.path().join("crl.pem"));
    options.client_tls = server::TlsFiles { client_cert_auth: true, crl_file, ..files };
    let server = Server::start(options).await.unwrap();
    within("the member to be ready", server.wait_ready()).await;
    let is_let_in = async |serial| {
        let identity = Some(ca.sign_for("alice", &["localhost"], serial));
        match connect(&server, &ca, identity).await {
            Ok(channel) => KvClient::new(channel).put(put("a")).await.is_ok(),
            Err(_) => false,
        }
    };
    assert!(!is_let_in(7).await);
    assert!(is_let_in(8).await);
    std::fs::write(dir.path().join("crl.pem"), ca.revoke(&[8])).unwrap();
    within("the new list", async { while is_let_in(8).await {} }).await;
    assert!(is_let_in(7).await, "the list is the new one alone");
    server.shutdown().await;
}

/// Whoever speaks to the gateway for others has one certificate for all of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_nobody_at_the_gateway() {
    use tonic::codegen::Service as _;
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    write(dir.path(), &ca);
    let server = start(&dir, Some(&ca)).await;
    let mut alice = connect(&server, &ca, Some(ca.sign("alice"))).await.unwrap();
    turn_on(&mut AuthClient::new(alice.clone()), None).await;
    KvClient::new(alice.clone()).put(put("a")).await.unwrap();
    let body = tonic::body::Body::new(axum::body::Body::from(r#"{"key":"YQ==","value":"dg=="}"#));
    let request = http::Request::post("https://localhost/v3/kv/put")
        .header("content-type", "application/json")
        .body(body)
        .unwrap();
    std::future::poll_fn(|cx| alice.poll_ready(cx)).await.unwrap();
    let answer = alice.call(request).await.unwrap();
    assert_eq!(answer.status(), http::StatusCode::BAD_REQUEST, "{:?}", answer.headers());
    let nobodys = "etcdserver: user name is empty";
    let body = axum::body::to_bytes(axum::body::Body::new(answer.into_body()), 4096).await.unwrap();
    assert!(String::from_utf8_lossy(&body).contains(nobodys), "{body:?}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_are_named() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    write(dir.path(), &ca);
    let start = async |change: &dyn Fn(&mut server::ServerOptions)| {
        let mut options = options("a", dir.path());
        options.client_tls.cert_file = Some(dir.path().join("cert.pem"));
        options.client_tls.key_file = Some(dir.path().join("key.pem"));
        change(&mut options);
        let error = Server::start(options).await.unwrap_err();
        assert_eq!(error.exit_code(), 17, "{error}");
        error.to_string()
    };
    let text = start(&|options| options.client_tls.key_file = None).await;
    assert!(text.contains("--key-file"), "{text}");
    let text = start(&|options| options.client_tls.client_cert_auth = true).await;
    assert!(text.contains("--trusted-ca-file"), "{text}");
    let text = start(&|options| options.client_tls.cert_file = Some("/no/such".into())).await;
    assert!(text.contains("/no/such"), "{text}");
    let key = dir.path().join("key.pem");
    let text = start(&|options| options.client_tls.cert_file = Some(key.clone())).await;
    assert!(text.contains("key.pem") && text.contains("no certificate"), "{text}");
    assert!(!dir.path().join("data").exists(), "nothing was made");
}
