//! Peers over TCP: threads of their own, a framing of its own, nothing shared with clients.
//!
//! A connection carries frames one way, from the node that opened it. It begins with a greeting
//! that names version, cluster, sender and receiver; what does not fit is refused with an answer
//! that says why, so that both logs name the mistake (a wrong address, an old cluster's member).
//! Where an address begins with `https://`, all of it goes over TLS: see `tls.rs`.

mod calling;
mod greeting;
mod hurried;
mod inbound;
mod inquiry;
mod outbound;
mod strangers;
#[cfg(test)]
mod test_end;
#[cfg(test)]
mod tests;
mod tls;
mod tls_stream;
#[cfg(test)]
mod tls_tests;
mod wire;

pub use greeting::Refusal;
pub use inbound::PeerListener;
pub use inquiry::{KnownCluster, ask_members};
pub use outbound::TcpNet;
pub use rustls;
pub use tls::{Admission, CertificateJudge, PeerCertificates, PeerTls, names};
