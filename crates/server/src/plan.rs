//! The options, checked: addresses parsed, members named and numbered.

use std::collections::{BTreeMap, BTreeSet};

use host::MemberAttributes;
use raft::{Configuration, NodeId};
use sha2::{Digest, Sha256};

use crate::errors::OptionsError;
use crate::options::ServerOptions;
use crate::url::HttpUrl;

/// A member at the beginning of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seed {
    pub(crate) name: String,
    pub(crate) peer_urls: Vec<HttpUrl>,
}

/// A cluster at its beginning: who is in it, and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cluster {
    pub(crate) id: u64,
    pub(crate) members: BTreeMap<NodeId, Seed>,
}

impl Cluster {
    /// Numbers the members: the same numbers on every member, since they come from token and names
    /// alone. Addresses are not part of them, so that a member may move.
    pub(crate) fn new(token: &str, seeds: Vec<Seed>) -> Self {
        let members: BTreeMap<NodeId, Seed> =
            seeds.into_iter().map(|seed| (member_id(token, &seed.name), seed)).collect();
        let id = cluster_id(token, members.keys().copied());
        Self { id, members }
    }

    /// `name=url,name=url`.
    pub(crate) fn parse(token: &str, text: &str) -> Result<Self, OptionsError> {
        let mut urls_of: BTreeMap<String, Vec<HttpUrl>> = BTreeMap::new();
        let mut taken = BTreeSet::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let parts = entry.split_once('=').filter(|(name, _)| !name.is_empty());
            let (name, url) =
                parts.ok_or_else(|| OptionsError::ClusterEntry { entry: entry.to_owned() })?;
            let url = parse_url("initial-cluster", url)?;
            if !taken.insert(url.clone()) {
                return Err(OptionsError::SharedPeerUrl { url: url.to_string() });
            }
            urls_of.entry(name.to_owned()).or_default().push(url);
        }
        let seeds = urls_of.into_iter().map(|(name, peer_urls)| Seed { name, peer_urls }).collect();
        Ok(Self::new(token, seeds))
    }

    fn names(&self) -> Vec<String> {
        self.members.values().map(|seed| seed.name.clone()).collect()
    }
}

/// The options of a server, checked.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) member_id: NodeId,
    pub(crate) listen_client_urls: Vec<HttpUrl>,
    pub(crate) listen_peer_urls: Vec<HttpUrl>,
    pub(crate) listen_metrics_urls: Vec<HttpUrl>,
    pub(crate) advertise_client_urls: Vec<HttpUrl>,
    pub(crate) advertise_peer_urls: Vec<HttpUrl>,
    /// The cluster that the options describe, if they describe one.
    pub(crate) cluster: Option<Cluster>,
}

impl Plan {
    /// Checks everything that can be checked without touching the machine.
    pub(crate) fn new(options: &ServerOptions) -> Result<Self, OptionsError> {
        options.check_numbers()?;
        if options.name.is_empty() {
            return Err(OptionsError::Empty { option: "name" });
        }
        if options.name.chars().any(char::is_control) {
            return Err(OptionsError::Name { name: options.name.clone() });
        }
        let token = &options.initial_cluster_token;
        let cluster = if options.initial_cluster.trim().is_empty() {
            None
        } else {
            Some(Cluster::parse(token, &options.initial_cluster)?)
        };
        let plan = Self {
            member_id: member_id(token, &options.name),
            listen_client_urls: parse_urls("listen-client-urls", &options.listen_client_urls)?,
            listen_peer_urls: parse_urls("listen-peer-urls", &options.listen_peer_urls)?,
            listen_metrics_urls: parse_urls("listen-metrics-urls", &options.listen_metrics_urls)?,
            advertise_client_urls: parse_urls(
                "advertise-client-urls",
                &options.advertise_client_urls,
            )?,
            advertise_peer_urls: parse_urls(
                "initial-advertise-peer-urls",
                &options.initial_advertise_peer_urls,
            )?,
            cluster,
        };
        if plan.listen_client_urls.is_empty() && options.client_listener.is_none() {
            return Err(OptionsError::Empty { option: "listen-client-urls" });
        }
        if plan.listen_peer_urls.is_empty() && options.peer_listener.is_none() {
            return Err(OptionsError::Empty { option: "listen-peer-urls" });
        }
        plan.check_member(&options.name)?;
        Ok(plan)
    }

    fn check_member(&self, name: &str) -> Result<(), OptionsError> {
        let Some(cluster) = &self.cluster else { return Ok(()) };
        let Some(seed) = cluster.members.get(&self.member_id) else {
            let cluster = cluster.names();
            return Err(OptionsError::NotInCluster { name: name.to_owned(), cluster });
        };
        let in_cluster: BTreeSet<_> = seed.peer_urls.iter().collect();
        let advertised: BTreeSet<_> = self.advertise_peer_urls.iter().collect();
        if !advertised.is_empty() && in_cluster != advertised {
            return Err(OptionsError::PeerUrlsDiffer {
                name: name.to_owned(),
                in_cluster: texts(&seed.peer_urls),
                advertised: texts(&self.advertise_peer_urls),
            });
        }
        Ok(())
    }
}

impl Cluster {
    /// The configuration that the group begins with: the same bytes on every member, whatever the
    /// order in which the options name addresses.
    pub(crate) fn configuration(&self) -> Configuration {
        let mut configuration = Configuration::of_voters(self.members.keys().copied());
        for (id, seed) in &self.members {
            let mut peer_urls = texts(&seed.peer_urls);
            peer_urls.sort_unstable();
            let name = seed.name.clone();
            let attributes = MemberAttributes { name, peer_urls, ..MemberAttributes::default() };
            configuration.attributes.insert(*id, attributes.encode());
        }
        configuration
    }
}

/// The texts of addresses.
pub(crate) fn texts(urls: &[HttpUrl]) -> Vec<String> {
    urls.iter().map(ToString::to_string).collect()
}

fn parse_url(option: &'static str, value: &str) -> Result<HttpUrl, OptionsError> {
    HttpUrl::parse(value.trim()).map_err(|fault| OptionsError::Url {
        option,
        value: value.trim().to_owned(),
        fault,
    })
}

fn parse_urls(option: &'static str, values: &[String]) -> Result<Vec<HttpUrl>, OptionsError> {
    values.iter().map(|value| parse_url(option, value)).collect()
}

/// The first eight bytes of SHA-256 over the token and the name, with a zero byte between them so
/// that no two pairs run together. Never 0, which means "nobody" on the wire.
pub(crate) fn member_id(token: &str, name: &str) -> NodeId {
    NodeId(digest(&[token.as_bytes(), &[0], name.as_bytes()]))
}

fn cluster_id(token: &str, members: impl Iterator<Item = NodeId>) -> u64 {
    let mut bytes = Vec::new();
    for member in members {
        bytes.extend_from_slice(&member.0.to_be_bytes());
    }
    digest(&[token.as_bytes(), &[0], &bytes])
}

fn digest(parts: &[&[u8]]) -> u64 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    let hash = hasher.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_be_bytes(first).max(1)
}

#[cfg(test)]
mod tests;
