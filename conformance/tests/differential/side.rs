//! One of the two servers.

use std::collections::BTreeMap;

use api::etcdserverpb::auth_client::AuthClient;
use api::etcdserverpb::kv_client::KvClient;
use api::etcdserverpb::lease_client::LeaseClient;
use api::etcdserverpb::watch_client::WatchClient;
use api::etcdserverpb::{self as pb};
use api::mvccpb;
use bytes::Bytes;
use conformance::{Cluster, ClusterPlan, Target};
use tonic::transport::Channel;

use crate::asks::Ask;
use crate::settle::{settle_header, settle_range, settle_txn, shown};

/// One of the two.
pub(crate) struct Side {
    _cluster: Cluster,
    pub(crate) channel: Channel,
    /// By user; what is not a user's is no token at all.
    tokens: BTreeMap<&'static str, String>,
}

impl Side {
    pub(crate) async fn start(target: &Target) -> Self {
        let target = Some(target.clone());
        let cluster = Cluster::start_plan(&ClusterPlan {
            size: 1,
            started: 1,
            target,
            // What hashing a password costs is no answer.
            flags: vec!["--bcrypt-cost=4".to_owned()],
            ..ClusterPlan::default()
        });
        let url = format!("http://{}", cluster.endpoint(0));
        let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
        Self { _cluster: cluster, channel, tokens: BTreeMap::new() }
    }

    /// What a user shows; a stranger's is nobody's.
    pub(crate) fn token(&self, user: &str) -> Option<&str> {
        match user {
            "" => None,
            "stranger" => Some("nobodys.1"),
            user => self.tokens.get(user).map(String::as_str),
        }
    }

    /// Signs a user in.
    pub(crate) async fn sign_in(&mut self, user: &'static str, password: &str) {
        let (name, password) = (user.to_owned(), password.to_owned());
        let request = pb::AuthenticateRequest { name, password };
        let answer = AuthClient::new(self.channel.clone()).authenticate(request).await;
        self.tokens.insert(user, answer.unwrap().into_inner().token);
    }

    /// Sends it as a user; what is left of a lease, if it is told, depends on the moment.
    pub(crate) async fn send(&self, ask: Ask, user: &str) -> (String, Option<i64>) {
        let mut left = None;
        let text = self.show(ask, user, &mut left).await;
        (text, left)
    }

    async fn show(&self, ask: Ask, user: &str, left: &mut Option<i64>) -> String {
        let mut kv = KvClient::new(self.channel.clone());
        let mut lease = LeaseClient::new(self.channel.clone());
        match ask {
            Ask::Range(range) => shown(kv.range(self.from(user, range.clone())).await, |answer| {
                settle_range(&range, answer)
            }),
            Ask::Put(put) => shown(kv.put(self.from(user, put)).await, |answer| {
                settle_header(&mut answer.header)
            }),
            Ask::Delete(delete) => {
                shown(kv.delete_range(self.from(user, delete)).await, |answer| {
                    settle_header(&mut answer.header)
                })
            }
            Ask::Txn(txn) => shown(kv.txn(self.from(user, txn.clone())).await, |answer| {
                settle_header(&mut answer.header);
                let taken = if answer.succeeded { &txn.success } else { &txn.failure };
                settle_txn(taken, &mut answer.responses);
            }),
            Ask::Compact(compact) => shown(kv.compact(self.from(user, compact)).await, |answer| {
                settle_header(&mut answer.header)
            }),
            Ask::Grant(grant) => shown(lease.lease_grant(self.from(user, grant)).await, |answer| {
                settle_header(&mut answer.header)
            }),
            Ask::Revoke(revoke) => {
                shown(lease.lease_revoke(self.from(user, revoke)).await, |answer| {
                    settle_header(&mut answer.header)
                })
            }
            Ask::TimeToLive(ask) => {
                shown(lease.lease_time_to_live(self.from(user, ask)).await, |answer| {
                    settle_header(&mut answer.header);
                    *left = Some(std::mem::take(&mut answer.ttl));
                    answer.keys.sort();
                })
            }
            Ask::WatchGone(revision) => self.watch_gone(revision, user).await,
            Ask::Administer(ask) => self.administer(ask, user).await,
        }
    }

    pub(crate) async fn revision(&self) -> i64 {
        let range = pb::RangeRequest { key: Bytes::from_static(b"x"), ..Default::default() };
        let answer = KvClient::new(self.channel.clone()).range(range).await.unwrap();
        answer.into_inner().header.unwrap().revision
    }

    /// What a watch from a revision that is gone is answered.
    async fn watch_gone(&self, start_revision: i64, user: &str) -> String {
        let create = pb::WatchCreateRequest {
            key: Bytes::from_static(b"a"),
            start_revision,
            ..Default::default()
        };
        let request_union = Some(pb::watch_request::RequestUnion::CreateRequest(create));
        let (requests, stream) = tokio::sync::mpsc::channel(1);
        requests.send(pb::WatchRequest { request_union }).await.unwrap();
        let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
        let watch = WatchClient::new(self.channel.clone()).watch(self.from(user, stream)).await;
        let mut answers = watch.unwrap().into_inner();
        let mut text = String::new();
        loop {
            let mut answer = answers.message().await.unwrap().unwrap();
            settle_header(&mut answer.header);
            text.push_str(&format!("{answer:?} "));
            if answer.canceled {
                return text;
            }
        }
    }

    /// All events from a revision to another.
    pub(crate) async fn events(&self, from: i64, to: i64) -> Vec<mvccpb::Event> {
        let create = pb::WatchCreateRequest {
            key: Bytes::from_static(b"\0"),
            range_end: Bytes::from_static(b"\0"),
            start_revision: from,
            prev_kv: true,
            ..Default::default()
        };
        let request_union = Some(pb::watch_request::RequestUnion::CreateRequest(create));
        let (requests, stream) = tokio::sync::mpsc::channel(1);
        requests.send(pb::WatchRequest { request_union }).await.unwrap();
        let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
        let watch = WatchClient::new(self.channel.clone()).watch(stream).await;
        let mut answers = watch.unwrap().into_inner();
        let mut events = Vec::new();
        while let Some(answer) = answers.message().await.unwrap() {
            assert!(!answer.canceled, "{answer:?}");
            events.extend(answer.events);
            let last = events.last().and_then(|event: &mvccpb::Event| event.kv.as_ref());
            if last.is_some_and(|kv| kv.mod_revision >= to) {
                break;
            }
        }
        events
    }
}
