//! Reading: what a range, a compare or a transaction sees of the state.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;

use crate::error::RequestError;
use crate::index::{Location, Place, ValueRef, VersionRef};
use crate::key_range::KeyRange;
use crate::request::{LeaseId, RangeRequest, SortOrder, SortTarget};
use crate::response::{KeyValue, RangeResponse};
use crate::state::State;

/// A value that is not in memory: which one, and the record that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) mod_revision: i64,
    pub(crate) sub: u32,
    pub(crate) location: Location,
}

/// Values that were read from disk for one request, by revision.
pub(crate) type Fetched = BTreeMap<(i64, u32), Bytes>;

/// Why a read or a plan did not come to an end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The request is refused.
    Refused(RequestError),
    /// These values must be fetched, without a lock, and then it is tried again.
    Missing(Vec<Wanted>),
}

impl From<RequestError> for Stop {
    fn from(error: RequestError) -> Self {
        Self::Refused(error)
    }
}

/// Where an item's value is.
#[derive(Clone, Debug)]
enum ItemValue<'a> {
    Small(&'a [u8]),
    Shared(Bytes),
    Stored(Wanted),
}

/// A key that exists, as a read sees it.
#[derive(Clone, Debug)]
pub(crate) struct Item<'a> {
    key: Cow<'a, [u8]>,
    pub(crate) create_revision: i64,
    pub(crate) mod_revision: i64,
    pub(crate) version: i64,
    pub(crate) lease: LeaseId,
    value: ItemValue<'a>,
}

/// What a transaction has written so far, by key; `None` is deleted.
pub(crate) type Overlay = BTreeMap<Bytes, Option<KeyValue>>;

/// The state as one request sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) state: &'a State,
    pub(crate) fetched: &'a Fetched,
}

impl<'a> View<'a> {
    fn item(&self, key: &'a [u8], found: VersionRef<'a>) -> Item<'a> {
        let version = found.version;
        let value = match found.value {
            ValueRef::Small(value) => ItemValue::Small(value),
            ValueRef::Large(value) => ItemValue::Shared(value.clone()),
            ValueRef::Stored => {
                let id = (version.mod_revision, version.sub);
                match self.fetched.get(&id).or_else(|| self.state.unwritten.value(id)) {
                    Some(value) => ItemValue::Shared(value.clone()),
                    None => ItemValue::Stored(Wanted {
                        mod_revision: version.mod_revision,
                        sub: version.sub,
                        location: version.location,
                    }),
                }
            }
        };
        Item {
            key: Cow::Borrowed(key),
            create_revision: version.create_revision,
            mod_revision: version.mod_revision,
            version: version.version,
            lease: found.lease,
            value,
        }
    }

    /// Keys of the range that exist at `revision`, in order.
    pub(crate) fn items<'r>(
        &self,
        range: &'r KeyRange,
        revision: i64,
    ) -> impl Iterator<Item = Item<'a>> + use<'a, 'r> {
        let view = *self;
        view.state.index.range(range).filter_map(move |(key, versions)| {
            versions.at(revision).map(|found| view.item(key, found))
        })
    }

    /// One key, if it exists at `revision`.
    pub(crate) fn get(&self, key: &[u8], revision: i64) -> Option<Item<'a>> {
        let (_, key, versions) = self.state.index.find(key)?;
        Some(self.item(key, versions.at(revision)?))
    }

    /// One key as it is now, and where the index has it.
    pub(crate) fn find(&self, key: &[u8]) -> Option<(Item<'a>, Place)> {
        let (place, key, versions) = self.state.index.find(key)?;
        Some((self.item(key, versions.at(self.state.revision)?), place))
    }

    /// Answers a range at `revision`, which the caller has checked. A transaction passes what it
    /// has written, and reads at the current revision then.
    pub(crate) fn range(
        &self,
        request: &RangeRequest,
        revision: i64,
        overlay: &Overlay,
    ) -> Result<RangeResponse, Stop> {
        let range = KeyRange::new(&request.key, &request.range_end);
        if range.is_empty() {
            return Ok(RangeResponse::default());
        }
        let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0);
        let order = Order::of(request);
        // Without a sort or a filter nobody looks behind the limit but for one key more, which
        // says that there are more. A sort by another target without an order sorts only those:
        // an oddity of etcd that is part of its API.
        let fetch_max = match limit {
            Some(limit) if !order.needs_all => limit.saturating_add(1),
            _ => usize::MAX,
        };
        let (mut items, count) = self.select(request, &range, revision, fetch_max, overlay);
        if request.count_only {
            return Ok(RangeResponse { count, ..RangeResponse::default() });
        }
        items.retain(|item| passes_filters(request, item));
        order.sort(&mut items)?;
        let more = limit.is_some_and(|limit| items.len() > limit);
        items.truncate(limit.unwrap_or(usize::MAX));
        let kvs = materialize(&items, request.keys_only)?;
        Ok(RangeResponse { revision: 0, kvs, more, count })
    }

    fn select(
        &self,
        request: &RangeRequest,
        range: &KeyRange,
        revision: i64,
        fetch_max: usize,
        overlay: &Overlay,
    ) -> (Vec<Item<'a>>, i64) {
        if overlay.is_empty() && revision >= self.state.revision {
            let count = self.state.index.count(range);
            let items = if request.count_only || count == 0 {
                Vec::new()
            } else {
                let mut items = Vec::with_capacity(count.min(fetch_max));
                items.extend(self.items(range, revision).take(fetch_max));
                items
            };
            return (items, count_of(count));
        }
        let mut items: Vec<Item<'a>> = self.items(range, revision).collect();
        if !overlay.is_empty() && revision >= self.state.revision {
            items.retain(|item| !overlay.contains_key(&*item.key));
            let written = overlay.iter().filter(|(key, _)| range.contains(key));
            items.extend(written.filter_map(|(_, kv)| kv.as_ref()).map(Item::of_kv));
            items.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        }
        let count = count_of(items.len());
        items.truncate(fetch_max);
        (items, count)
    }
}

fn count_of(count: usize) -> i64 {
    i64::try_from(count).expect("fewer keys than 2^63 fit in memory")
}

impl Item<'_> {
    fn of_kv(kv: &KeyValue) -> Self {
        Self {
            key: Cow::Owned(kv.key.to_vec()),
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
            value: ItemValue::Shared(kv.value.clone()),
        }
    }

    pub(crate) fn value(&self) -> Result<&[u8], Wanted> {
        match &self.value {
            ItemValue::Small(value) => Ok(value),
            ItemValue::Shared(value) => Ok(value),
            ItemValue::Stored(wanted) => Err(*wanted),
        }
    }

    pub(crate) fn to_kv(&self) -> Result<KeyValue, Stop> {
        let mut kvs = materialize(std::slice::from_ref(self), false)?;
        Ok(kvs.pop().expect("one item gives one key-value"))
    }
}

/// Makes answers of items: keys and small values are copied into one buffer for all.
fn materialize(items: &[Item<'_>], keys_only: bool) -> Result<Vec<KeyValue>, Stop> {
    let mut len_bytes = 0;
    let mut missing = Vec::new();
    for item in items {
        len_bytes += item.key.len();
        match &item.value {
            _ if keys_only => {}
            ItemValue::Small(value) => len_bytes += value.len(),
            ItemValue::Shared(_) => {}
            ItemValue::Stored(wanted) => missing.push(*wanted),
        }
    }
    if !missing.is_empty() {
        return Err(Stop::Missing(missing));
    }
    let mut buffer = Vec::with_capacity(len_bytes);
    for item in items {
        buffer.extend_from_slice(&item.key);
        if let (ItemValue::Small(value), false) = (&item.value, keys_only) {
            buffer.extend_from_slice(value);
        }
    }
    let buffer = Bytes::from(buffer);
    let mut at = 0;
    let mut take = |len: usize| {
        at += len;
        buffer.slice(at - len..at)
    };
    let mut kvs = Vec::with_capacity(items.len());
    for item in items {
        let key = take(item.key.len());
        let value = match &item.value {
            _ if keys_only => Bytes::new(),
            ItemValue::Small(value) => take(value.len()),
            ItemValue::Shared(value) => value.clone(),
            ItemValue::Stored(_) => Bytes::new(),
        };
        // etcd serves keys alone from its index, which does not know leases.
        let lease = if keys_only { LeaseId::NONE } else { item.lease };
        kvs.push(KeyValue {
            key,
            create_revision: item.create_revision,
            mod_revision: item.mod_revision,
            version: item.version,
            value,
            lease,
        });
    }
    Ok(kvs)
}

fn passes_filters(request: &RangeRequest, item: &Item<'_>) -> bool {
    let within = |min: i64, max: i64, at: i64| (min == 0 || at >= min) && (max == 0 || at <= max);
    within(request.min_mod_revision, request.max_mod_revision, item.mod_revision)
        && within(request.min_create_revision, request.max_create_revision, item.create_revision)
}

struct Order {
    target: SortTarget,
    descending: bool,
    /// Whether a limit may be applied only after sorting and filtering.
    needs_all: bool,
}

impl Order {
    fn of(request: &RangeRequest) -> Self {
        let filtered = request.min_mod_revision != 0
            || request.max_mod_revision != 0
            || request.min_create_revision != 0
            || request.max_create_revision != 0;
        // Ascending by key is how keys come anyway.
        let sorted = match request.sort_order {
            SortOrder::None => false,
            SortOrder::Ascend => request.sort_target != SortTarget::Key,
            SortOrder::Descend => true,
        };
        Self {
            target: request.sort_target,
            descending: request.sort_order == SortOrder::Descend,
            needs_all: filtered || sorted,
        }
    }

    fn sort(&self, items: &mut [Item<'_>]) -> Result<(), Stop> {
        match self.target {
            SortTarget::Key if self.descending => items.reverse(),
            SortTarget::Key => {}
            SortTarget::Version => self.sort_by(items, |a, b| a.version.cmp(&b.version)),
            SortTarget::Create => {
                self.sort_by(items, |a, b| a.create_revision.cmp(&b.create_revision));
            }
            SortTarget::Mod => self.sort_by(items, |a, b| a.mod_revision.cmp(&b.mod_revision)),
            SortTarget::Value => {
                let missing: Vec<Wanted> =
                    items.iter().filter_map(|item| item.value().err()).collect();
                if !missing.is_empty() {
                    return Err(Stop::Missing(missing));
                }
                self.sort_by(items, |a, b| a.value().ok().cmp(&b.value().ok()));
            }
        }
        Ok(())
    }

    fn sort_by(
        &self,
        items: &mut [Item<'_>],
        compare: impl Fn(&Item<'_>, &Item<'_>) -> std::cmp::Ordering,
    ) {
        items.sort_by(|a, b| {
            let ordering = compare(a, b);
            if self.descending { ordering.reverse() } else { ordering }
        });
    }
}
