//! The JSON gateway, as `curl` sees it.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::common::{Node, one, one_with, within};

/// Sends a request; the answer's status and body.
async fn post(node: &Node, path: &str, headers: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(node.server.client_address()).await.unwrap();
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}Content-Length: \
         {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

async fn done(node: &Node, path: &str, body: Value) -> Value {
    let (status, answer) = post(node, path, "", &body.to_string()).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_strings_bytes_are_base64_and_zeros_are_left_out() {
    let node = one().await;
    let put = done(&node, "/v3/kv/put", json!({ "key": "Zm9v", "value": "YmFy" })).await;
    assert_eq!(put["header"]["revision"], "2");
    let member_id = node.server.status().member_id.to_string();
    assert_eq!(put["header"]["member_id"], member_id);
    let got = done(&node, "/v3/kv/range", json!({ "key": "Zm9v", "a_later_field": 1 })).await;
    let kv = json!({
        "key": "Zm9v", "value": "YmFy", "create_revision": "2", "mod_revision": "2", "version": "1",
    });
    assert_eq!(
        (&got["kvs"], &got["count"], &got["more"]),
        (&json!([kv]), &json!("1"), &Value::Null)
    );
    let txn = json!({
        "compare": [{ "target": "VALUE", "key": "Zm9v", "value": "YmFy" }],
        "success": [{ "request_delete_range": { "key": "Zm9v" } }],
        "failure": [{ "request_put": { "key": "eA==" } }],
    });
    let answer = done(&node, "/v3/kv/txn", txn).await;
    assert_eq!(answer["succeeded"], true);
    assert_eq!(answer["responses"][0]["response_delete_range"]["deleted"], "1");
    let granted = done(&node, "/v3/lease/grant", json!({ "TTL": "60", "ID": 7 })).await;
    assert_eq!((&granted["ID"], &granted["TTL"]), (&json!("7"), &json!("60")));
    for path in ["/v3/lease/timetolive", "/v3/kv/lease/timetolive"] {
        assert_eq!(done(&node, path, json!({ "ID": "7" })).await["grantedTTL"], "60");
    }
    let status = done(&node, "/v3/maintenance/status", json!({})).await;
    assert_eq!(status["version"], server::ETCD_VERSION);
    assert!(status["dbSize"].is_string(), "{status}");
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_their_code_and_status() {
    let node = one().await;
    let (status, answer) = post(&node, "/v3/kv/put", "", "{}").await;
    let text = "etcdserver: key is not provided";
    assert_eq!((status, answer), (400, json!({ "error": text, "code": 3, "message": text })));
    assert_eq!(post(&node, "/v3/kv/put", "", "{").await.0, 400);
    assert_eq!(post(&node, "/v3/kv/put", "", r#"{"key":1}"#).await.0, 400);
    assert_eq!(post(&node, "/v3/kv/nothing", "", "{}").await.0, 404);
    assert_eq!(post(&node, "/v3/lease/revoke", "", r#"{"ID":"9"}"#).await.0, 404);
    assert_eq!(node.get("/v3/kv/put").await.0, 501);
    let large = format!(r#"{{"key":"{}"}}"#, "A".repeat(5 << 20));
    assert_eq!(post(&node, "/v3/kv/put", "", &large).await.0, 429);
    let page = post(&node, "/v3/kv/put", "Origin: http://evil.example\r\n", r#"{"key":"YQ=="}"#);
    assert_eq!(page.await.0, 403, "no web page may write");
    assert_eq!(done(&node, "/v3/kv/range", json!({ "key": "YQ==" })).await["count"], Value::Null);
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_asked_for() {
    let node = one_with(|options| options.bcrypt_cost = 4).await;
    for (path, body) in [
        ("/v3/auth/user/add", json!({ "name": "root", "password": "x" })),
        ("/v3/auth/user/grant", json!({ "user": "root", "role": "root" })),
        ("/v3/auth/enable", json!({})),
    ] {
        done(&node, path, body).await;
    }
    let (status, answer) = post(&node, "/v3/kv/put", "", r#"{"key":"YQ=="}"#).await;
    assert_eq!((status, &answer["message"]), (400, &json!("etcdserver: user name is empty")));
    let bad = post(&node, "/v3/kv/put", "Authorization: x\r\n", r#"{"key":"YQ=="}"#).await;
    assert_eq!((bad.0, &bad.1["code"]), (401, &json!(16)));
    let signed_in = json!({ "name": "root", "password": "x" });
    let token = done(&node, "/v3/auth/authenticate", signed_in).await["token"].clone();
    let token = token.as_str().unwrap();
    for header in
        [format!("Authorization: {token}\r\n"), format!("Authorization: Bearer {token}\r\n")]
    {
        assert_eq!(post(&node, "/v3/kv/put", &header, r#"{"key":"YQ=="}"#).await.0, 200);
    }
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_answers_line_by_line() {
    let node = one().await;
    let mut stream = TcpStream::connect(node.server.client_address()).await.unwrap();
    let body = json!({ "create_request": { "key": "YQ==" } }).to_string();
    let length = body.len();
    let request =
        format!("POST /v3/watch HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut next = async || {
        loop {
            let line = within("a line", lines.next_line()).await.unwrap().unwrap();
            if line.starts_with('{') {
                return serde_json::from_str::<Value>(&line).unwrap()["result"].clone();
            }
        }
    };
    assert_eq!(next().await["created"], true);
    done(&node, "/v3/kv/put", json!({ "key": "YQ==", "value": "MQ==" })).await;
    let told = next().await;
    assert_eq!(told["events"][0]["kv"]["value"], "MQ==");
    assert_eq!(told["events"][0]["type"], Value::Null, "PUT is the zero of its kind");
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_left_out() {
    let node = one_with(|options| options.enable_grpc_gateway = false).await;
    assert_eq!(post(&node, "/v3/kv/put", "", r#"{"key":"YQ=="}"#).await.0, 404);
    node.server.shutdown().await;
}

/// By a client that keeps no time of its own: what it does not wait for any more is not done.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_ends_when_its_client_gives_up() {
    let node = one().await;
    done(&node, "/v3/lock/lock", json!({ "name": "bA==" })).await;
    let late = post(&node, "/v3/lock/lock", "Grpc-Timeout: 20m\r\n", r#"{"name":"bA=="}"#).await;
    let text = "context deadline exceeded";
    assert_eq!(late, (504, json!({ "error": text, "code": 4, "message": text })));
    // `l/` to `l0`: who waited leaves no key.
    within("the key to go", async {
        let all = json!({ "key": "bC8=", "range_end": "bDA=" });
        while done(&node, "/v3/kv/range", all.clone()).await["count"] != "1" {}
    })
    .await;
    node.server.shutdown().await;
}

/// A piece of a body whose length nobody knows.
fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// What a client asks for on a stream that is open already is answered, and so is what is no
/// request.
#[tokio::test(flavor = "multi_thread")]
async fn requests_of_a_stream_are_read_as_they_come() {
    let node = one().await;
    let mut stream = TcpStream::connect(node.server.client_address()).await.unwrap();
    let head = "POST /v3/watch HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let create = |key: &str| json!({ "create_request": { "key": key } }).to_string();
    stream.write_all(format!("{head}{}", chunk(&create("YQ=="))).as_bytes()).await.unwrap();
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut next = async || {
        loop {
            let line = within("a line", lines.next_line()).await.unwrap().unwrap();
            if line.starts_with('{') {
                return serde_json::from_str::<Value>(&line).unwrap();
            }
        }
    };
    assert_eq!(next().await["result"]["created"], true);
    // The body goes on, and a request may come in pieces.
    let second = create("Yg==");
    let (one_half, other_half) = second.split_at(9);
    write.write_all(chunk(one_half).as_bytes()).await.unwrap();
    write.write_all(chunk(other_half).as_bytes()).await.unwrap();
    let created = next().await;
    assert_eq!(
        (&created["result"]["created"], &created["result"]["watch_id"]),
        (&json!(true), &json!("1"))
    );
    done(&node, "/v3/kv/put", json!({ "key": "Yg==", "value": "MQ==" })).await;
    assert_eq!(next().await["result"]["events"][0]["kv"]["key"], "Yg==");
    write.write_all(chunk("what is this").as_bytes()).await.unwrap();
    assert_eq!(next().await["error"]["code"], 3);
    assert_eq!(post(&node, "/v3/watch", "", "what is this").await.0, 400);
    node.server.shutdown().await;
}
