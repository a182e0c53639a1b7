//! Keys: get, put, del, compact.

use api::etcdserverpb::kv_client::KvClient;
use api::etcdserverpb::{CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest};
use api::mvccpb::KeyValue;
use bytes::Bytes;
use clap::Args;
use serde::Serialize;

use super::Output;
use crate::table::{Table, printable};
use crate::{ClientError, Endpoints};

/// Answers may be larger than tonic's default of 4 MiB.
const ANSWER_BYTES_MAX: usize = 512 << 20;

/// Which keys.
#[derive(Clone, Debug, Args)]
pub(super) struct KeyRange {
    /// The key, or the first one.
    key: String,
    /// The key behind the last one.
    range_end: Option<String>,
    /// All keys that begin so.
    #[arg(long, conflicts_with = "range_end")]
    prefix: bool,
    /// All keys from this one on.
    #[arg(long, conflicts_with_all = ["range_end", "prefix"])]
    from_key: bool,
}

impl KeyRange {
    /// The first key and the one behind the last, as the API wants them.
    pub(super) fn bounds(&self) -> (Bytes, Bytes) {
        let key = Bytes::from(self.key.clone());
        let everything = Bytes::from_static(b"\0");
        let end = match &self.range_end {
            Some(end) => Bytes::from(end.clone()),
            None if self.from_key => everything.clone(),
            None if self.prefix => prefix_end(&key),
            None => Bytes::new(),
        };
        // An empty key means all: the API spells it as a zero byte.
        if key.is_empty() && !end.is_empty() { (everything, end) } else { (key, end) }
    }
}

/// The first key that does not begin with `prefix`: its last byte that can grow, grown.
fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(b"\0")
}

/// `ctl get`.
#[derive(Clone, Debug, Args)]
pub struct Get {
    #[command(flatten)]
    range: KeyRange,
    /// At most so many keys; 0 for all.
    #[arg(long, default_value_t = 0)]
    limit: i64,
    /// As of this revision; 0 for the newest.
    #[arg(long, default_value_t = 0)]
    rev: i64,
    /// Without values.
    #[arg(long)]
    keys_only: bool,
    /// Only how many there are.
    #[arg(long)]
    count_only: bool,
    /// From the member that is asked, which may be behind.
    #[arg(long)]
    serializable: bool,
    /// Only the values, byte for byte, a line each.
    #[arg(long, conflicts_with_all = ["json", "keys_only", "count_only"])]
    print_value_only: bool,
}

#[derive(Serialize)]
pub(super) struct KeyLine {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) create_revision: i64,
    pub(super) mod_revision: i64,
    pub(super) version: i64,
    pub(super) lease: String,
}

impl From<&KeyValue> for KeyLine {
    fn from(kv: &KeyValue) -> Self {
        Self {
            key: printable(&kv.key),
            value: printable(&kv.value),
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            lease: if kv.lease == 0 { String::new() } else { format!("{:x}", kv.lease) },
        }
    }
}

#[derive(Serialize)]
struct GetAnswer {
    revision: i64,
    count: i64,
    more: bool,
    keys: Vec<KeyLine>,
}

pub(super) async fn get(
    endpoints: &Endpoints,
    get: &Get,
    output: &mut Output<'_>,
) -> Result<(), ClientError> {
    let (key, range_end) = get.range.bounds();
    let channel = endpoints.connect_any().await?;
    let mut client = KvClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
    let request = RangeRequest {
        key,
        range_end,
        limit: get.limit,
        revision: get.rev,
        keys_only: get.keys_only,
        count_only: get.count_only,
        serializable: get.serializable,
        ..RangeRequest::default()
    };
    let answer = client.range(request).await?.into_inner();
    if get.print_value_only {
        for kv in &answer.kvs {
            output.out.write_all(&kv.value)?;
            output.out.write_all(b"\n")?;
        }
        return Ok(());
    }
    let revision = answer.header.as_ref().map_or(0, |header| header.revision);
    let keys: Vec<KeyLine> = answer.kvs.iter().map(KeyLine::from).collect();
    let (count, more) = (answer.count, answer.more);
    if output.json {
        return output.json(&GetAnswer { revision, count, more, keys });
    }
    if get.count_only {
        return output.line(&count.to_string());
    }
    if keys.is_empty() {
        return output.line(&format!("no key (at revision {revision})"));
    }
    let mut table = Table::new(&["KEY", "VALUE", "CREATED", "MODIFIED", "VERSION", "LEASE"]);
    let shown = keys.len();
    for line in keys {
        let numbers = [line.create_revision, line.mod_revision, line.version];
        let [created, modified, version] = numbers.map(|number| number.to_string());
        table.row([line.key, line.value, created, modified, version, line.lease]);
    }
    table.write(output.out)?;
    if more {
        output.line(&format!("{shown} of {count} keys; --limit cut the rest"))?;
    }
    Ok(())
}

/// `ctl put`.
#[derive(Clone, Debug, Args)]
pub struct Put {
    /// The key.
    key: String,
    /// The value.
    value: String,
    /// Attach the key to this lease, in hexadecimal.
    #[arg(long)]
    lease: Option<String>,
}

#[derive(Serialize)]
struct Written {
    revision: i64,
}

pub(super) async fn put(
    endpoints: &Endpoints,
    put: &Put,
    output: &mut Output<'_>,
) -> Result<(), ClientError> {
    let lease = put.lease.as_deref().map_or(Ok(0), super::lease::parse_id)?;
    let mut client = KvClient::new(endpoints.connect_any().await?);
    let request = PutRequest {
        key: put.key.clone().into(),
        value: put.value.clone().into(),
        lease,
        ..PutRequest::default()
    };
    let answer = client.put(request).await?.into_inner();
    let revision = answer.header.map_or(0, |header| header.revision);
    if output.json {
        return output.json(&Written { revision });
    }
    output.line(&format!("OK, revision {revision}"))
}

/// `ctl del`.
#[derive(Clone, Debug, Args)]
pub struct Del {
    #[command(flatten)]
    range: KeyRange,
}

#[derive(Serialize)]
struct Deleted {
    revision: i64,
    deleted: i64,
}

pub(super) async fn del(
    endpoints: &Endpoints,
    del: &Del,
    output: &mut Output<'_>,
) -> Result<(), ClientError> {
    let (key, range_end) = del.range.bounds();
    let mut client = KvClient::new(endpoints.connect_any().await?);
    let request = DeleteRangeRequest { key, range_end, ..DeleteRangeRequest::default() };
    let answer = client.delete_range(request).await?.into_inner();
    let revision = answer.header.as_ref().map_or(0, |header| header.revision);
    if output.json {
        return output.json(&Deleted { revision, deleted: answer.deleted });
    }
    output.line(&format!("{} deleted, revision {revision}", answer.deleted))
}

pub(super) async fn compact(
    endpoints: &Endpoints,
    rev: i64,
    physical: bool,
    output: &mut Output<'_>,
) -> Result<(), ClientError> {
    let mut client = KvClient::new(endpoints.connect_any().await?);
    client.compact(CompactionRequest { revision: rev, physical }).await?;
    if output.json {
        return output.json(&Written { revision: rev });
    }
    output.line(&format!("compacted; revision {rev} is the oldest now"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_end(prefix: &[u8], expect: &[u8]) {
        assert_eq!(prefix_end(prefix), expect);
    }

    #[test]
    fn the_end_of_a_prefix_is_the_next_that_has_it_not() {
        check_end(b"a/", b"a0");
        check_end(b"a\xff", b"b");
        check_end(b"\xff\xff", b"\0");
        check_end(b"", b"\0");
    }

    #[test]
    fn an_empty_prefix_is_everything() {
        let all = KeyRange { key: String::new(), range_end: None, prefix: true, from_key: false };
        assert_eq!(all.bounds(), (Bytes::from_static(b"\0"), Bytes::from_static(b"\0")));
    }
}
