//! TLS, for clients and between members: certificates from files, read again while the server runs.
//!
//! TLS 1.3 and 1.2, the latter with AEAD ciphers only, which is all that rustls has.

mod clients;
mod files;
mod made;
mod names;
mod peers;
mod protocol;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use clients::Tls;
pub use files::TlsFiles;
pub(crate) use names::common_name;
pub(crate) use peers::PeerCredentials;
pub use protocol::{TlsProtocol, TlsVersion};

use crate::member::Member;

/// Between two looks whether the files have changed.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// Why files cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFault {
    /// Which file, or flag.
    pub what: String,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.reason)
    }
}

impl std::error::Error for TlsFault {}

fn fault(what: impl fmt::Display, reason: impl fmt::Display) -> TlsFault {
    TlsFault { what: what.to_string(), reason: reason.to_string() }
}

/// What is made of files that may change.
pub(crate) trait Reload: Send + Sync {
    /// Reads the files again; says whether anything has changed.
    fn reload(&self) -> Result<bool, TlsFault>;
    /// Who uses them.
    fn users(&self) -> &'static str;
}

/// Takes up new certificates, keys, CAs and CRLs until the server goes away.
pub(crate) async fn keep_fresh(files: Arc<dyn Reload>, member: Arc<Member>) {
    let stopping = member.stopping();
    tokio::pin!(stopping);
    let users = files.users();
    let mut told = None;
    loop {
        tokio::select! {
            () = &mut stopping => return,
            () = tokio::time::sleep(RELOAD_INTERVAL) => {}
        }
        let reading = Arc::clone(&files);
        let reloaded = tokio::task::spawn_blocking(move || reading.reload()).await;
        match reloaded {
            Ok(Ok(false)) | Err(_) => {}
            Ok(Ok(true)) => {
                told = None;
                tracing::info!(users, "new connections use the certificates as they are now");
            }
            // Perhaps half of them are written: the old ones stay in use. Told once.
            Ok(Err(fault)) if told.as_ref() != Some(&fault) => {
                tracing::warn!(
                    users, %fault, "the changed certificates cannot be used; the old ones stay"
                );
                told = Some(fault);
            }
            Ok(Err(_)) => {}
        }
    }
}
