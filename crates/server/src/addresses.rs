//! How many connections each address has, so that one client cannot take them all.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Connections of one address at a time. A proxy before many clients has fewer, since each of its
/// connections carries many streams.
pub(crate) const CONNECTIONS_PER_ADDRESS_MAX: usize = 4_096;

/// Counts by address; those that have none are not kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addresses(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

/// A connection that counts, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    addresses: Addresses,
    address: IpAddr,
}

impl Addresses {
    /// One more of this address; nothing if it has as many as it may.
    pub(crate) fn count(&self, address: IpAddr, most: usize) -> Option<Counted> {
        let mut counts = self.0.lock();
        let count = counts.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Counted { addresses: self.clone(), address })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.addresses.0.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_count_and_leaves_nothing_behind() {
        let addresses = Addresses::default();
        let [one, other] = ["10.0.0.1", "::1"].map(|text| text.parse().unwrap());
        let first = addresses.count(one, 2).unwrap();
        let second = addresses.count(one, 2).unwrap();
        assert!(addresses.count(one, 2).is_none());
        let third = addresses.count(other, 2).unwrap();
        drop(first);
        let again = addresses.count(one, 2).unwrap();
        drop((second, third, again));
        assert!(addresses.0.lock().is_empty());
    }
}
