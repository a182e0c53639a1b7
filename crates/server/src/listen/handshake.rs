//! The TLS handshake of a client.

use std::io;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::HANDSHAKE_TIMEOUT;

/// Waits for the first byte, then for a turn, then for the end, and for all three together no
/// longer than [`HANDSHAKE_TIMEOUT`]. Who says nothing has no turn.
pub(super) async fn handshake(
    stream: TcpStream,
    acceptor: impl FnOnce() -> TlsAcceptor,
    turns: &Semaphore,
) -> io::Result<TlsStream<TcpStream>> {
    let whole = async {
        stream.readable().await?;
        let _turn = turns.acquire().await.map_err(io::Error::other)?;
        // The certificate as it is now.
        acceptor().accept(stream).await
    };
    tokio::time::timeout(HANDSHAKE_TIMEOUT, whole)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "it was not over in time")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rcgen::{CertificateParams, KeyPair};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::time::Instant;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::crypto::ring::default_provider;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;

    use super::*;

    fn acceptor() -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let chain = vec![params.self_signed(&key).unwrap().der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    /// What a client does while the server waits, and whether it sees its connection end.
    async fn check(name: &str, turns: usize, first: &[u8], drips: bool) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        client.write_all(first).await.unwrap();
        let dripping = async {
            if drips {
                // Bytes of a record that is announced to be long.
                while client.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(400)).await;
                }
            }
            std::future::pending::<()>().await;
        };
        let (begun, turns) = (Instant::now(), Semaphore::new(turns));
        let ended = tokio::select! {
            ended = handshake(stream, acceptor, &turns) => ended,
            () = dripping => unreachable!("it goes on for ever"),
        };
        let kind = ended.err().map(|error| error.kind());
        assert_eq!(kind, Some(io::ErrorKind::TimedOut), "{name}");
        let took = begun.elapsed();
        let late = HANDSHAKE_TIMEOUT + Duration::from_millis(10);
        assert!(took >= HANDSHAKE_TIMEOUT && took < late, "{name}: {took:?}");
        // An end, or a reset if bytes of it were not read.
        let last = client.read(&mut [0; 16]).await;
        assert!(last.as_ref().map_or(true, |count| *count == 0), "{name}: {last:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_is_cut_off_in_time_whatever_it_waits_for() {
        /// Of a handshake, 512 bytes long.
        const RECORD: &[u8] = b"\x16\x03\x01\x02\x00";
        check("silence", 1, b"", false).await;
        check("a record that does not come", 1, RECORD, false).await;
        check("drips", 1, RECORD, true).await;
        check("no turn", 0, RECORD, false).await;
    }
}
