//! Those who have connected and not yet shown who they are.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use raft::NodeId;
use rustls::pki_types::CertificateDer;

use super::inquiry::ask_members;
use super::tls::PeerTls;
use crate::members::MemberAttributes;
use crate::receiver::Receiver;

/// At a time, of all addresses: room for the connections of members remains.
const STRANGERS_MAX: usize = 128;
/// At a time, of one address.
const STRANGERS_PER_ADDRESS_MAX: usize = 32;
/// Who is asked about a member that is not known here may take so long.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// Counts of them, by address.
#[derive(Clone, Debug, Default)]
pub(super) struct Strangers(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Stranger {
    strangers: Strangers,
    address: IpAddr,
}

impl Strangers {
    /// One more, if there is room.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Stranger> {
        let mut counts = self.0.lock();
        let all: usize = counts.values().sum();
        let of_address = counts.get(&address).copied().unwrap_or(0);
        if all >= STRANGERS_MAX || of_address >= STRANGERS_PER_ADDRESS_MAX {
            return None;
        }
        counts.insert(address, of_address + 1);
        Some(Stranger { strangers: self.clone(), address })
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut counts = self.strangers.0.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// Whether the certificate is that of the member `from`, or of any member where nobody is named.
///
/// A member that was added while this node was away is not known here, and may be the leader that
/// would tell of it. So the members that are known are asked: they have shown who they are.
pub(super) fn admits(
    tls: &PeerTls,
    certificate: Option<&CertificateDer<'_>>,
    from: Option<NodeId>,
    receiver: &Receiver,
) -> bool {
    let peers = receiver.peers();
    let known = peers.all_addresses();
    let Some(from) = from else {
        return tls.admits(certificate, known.values().flatten());
    };
    if let Some(addresses) = known.get(&from).filter(|addresses| !addresses.is_empty()) {
        return tls.admits(certificate, addresses);
    }
    if tls.admits(certificate, []) {
        return true;
    }
    for address in known.values().flatten() {
        for group in peers.groups() {
            let Ok(told) = ask_members(address, group, ASK_TIMEOUT, Some(tls)) else { break };
            let attributes = MemberAttributes::of(&told.configuration.configuration, from);
            let addresses: Vec<String> = attributes.peer_addresses().collect();
            if told.cluster_id == receiver.cluster_id() && tls.admits(certificate, &addresses) {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_the_room_of_all_and_all_not_that_of_members() {
        let strangers = Strangers::default();
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        let mut held = Vec::new();
        for _ in 0..STRANGERS_PER_ADDRESS_MAX {
            held.push(strangers.admit(address(1)).expect("room"));
        }
        assert!(strangers.admit(address(1)).is_none());
        for last in 2.. {
            let more: Vec<_> = (0..20).map_while(|_| strangers.admit(address(last))).collect();
            let is_full = more.len() < 20;
            held.extend(more);
            if is_full {
                break;
            }
        }
        assert_eq!(held.len(), STRANGERS_MAX);
        held.clear();
        assert!(strangers.0.lock().is_empty());
    }
}
