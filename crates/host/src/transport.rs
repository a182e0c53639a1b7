//! Peers over TCP: threads of their own, a framing of its own, nothing shared with clients.
//!
//! A connection carries frames one way, from the node that opened it. It begins with a greeting
//! that names version, cluster, sender and receiver; what does not fit is refused with an answer
//! that says why, so that both logs name the mistake (a wrong address, an old cluster's member).

mod greeting;
mod inbound;
mod inquiry;
mod outbound;
#[cfg(test)]
mod tests;

pub use greeting::Refusal;
pub use inbound::PeerListener;
pub use inquiry::{KnownCluster, ask_members};
pub use outbound::TcpNet;
