//! The client port: gRPC over HTTP/2 and plain HTTP/1 on one socket, told apart by their first
//! bytes.

mod handshake;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::addresses::{Addresses, CONNECTIONS_PER_ADDRESS_MAX};
use crate::authority::Lenient;
use crate::dispatch::Dispatch;
use crate::gate::CommonName;
use crate::member::Member;
use crate::tls::{self, Tls};
use handshake::handshake;

/// A connection that says nothing at all by then is closed.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(60);
/// HTTP/1 requests must have their head whole by then.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A TLS handshake is over by then, or the connection is: from when it was accepted, whatever it
/// waits for, its client's first byte and its turn included.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long connections may take to finish what they are doing when the server goes away.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// After an error that will be there again at once, such as too many open files.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);

/// What the options say about connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    /// Of one socket, at a time; more are closed at once.
    pub(crate) connections_max: usize,
    pub(crate) max_concurrent_streams: u32,
    pub(crate) keepalive_interval: Duration,
    pub(crate) keepalive_timeout: Duration,
}

/// hyper's settings, each chosen on purpose.
pub(crate) fn builder(limits: ConnectionLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        // A request of 1.5 MiB needs one more round trip, anything smaller none.
        .initial_stream_window_size(1 << 20)
        // What one connection may make this server hold; eight streams can send at full speed.
        .initial_connection_window_size(8 << 20)
        // Adapting costs a ping with every burst and forgets the two numbers above.
        .adaptive_window(false)
        .max_concurrent_streams(limits.max_concurrent_streams)
        // Metadata is a token and some flags.
        .max_header_list_size(16 << 10)
        // The defence against rapid reset. A client that cancels a burst of watches before they are
        // accepted is honest, so there is more room than h2's 20.
        .max_pending_accept_reset_streams(256)
        .max_local_error_reset_streams(1024)
        // What waits for the socket, per stream: a range is encoded no faster than it is read.
        .max_send_buf_size(1 << 20)
        .keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout)
        // No gRPC client reads it.
        .auto_date_header(false);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        // Heads are shorter. A body of the gateway comes in pieces, and is counted there.
        .max_buf_size(64 << 10);
    builder
}

/// Accepts connections until the server goes away, then lets them finish.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    dispatch: Dispatch,
    member: Arc<Member>,
    limits: ConnectionLimits,
) {
    let builder = Arc::new(builder(limits));
    let mut connections = JoinSet::new();
    let addresses = Addresses::default();
    let stopping = member.stopping();
    tokio::pin!(stopping);
    loop {
        let accepted = tokio::select! {
            () = &mut stopping => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok(_) if connections.len() >= limits.connections_max => {
                member.metrics.connections_refused.add(1);
            }
            Ok((stream, from)) => {
                let Some(counted) = addresses.count(from.ip(), CONNECTIONS_PER_ADDRESS_MAX) else {
                    member.metrics.connections_refused.add(1);
                    continue;
                };
                let (builder, member) = (Arc::clone(&builder), Arc::clone(&member));
                let dispatch = dispatch.connection();
                let connection = connection(stream, tls.clone(), builder, dispatch, member);
                connections.spawn(async move {
                    connection.await;
                    drop(counted);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a client's connection could not be accepted");
                if !is_about_one_connection(error.kind()) {
                    tokio::time::sleep(ACCEPT_BACK_OFF).await;
                }
            }
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
        tracing::warn!("clients did not end their requests in time; their connections are closed");
        connections.shutdown().await;
    }
}

fn is_about_one_connection(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

async fn connection(
    stream: TcpStream,
    tls: Option<Arc<Tls>>,
    builder: Arc<Builder<TokioExecutor>>,
    dispatch: Dispatch,
    member: Arc<Member>,
) {
    let _open = member.metrics.connections.enter();
    // Answers are small and awaited: waiting for more to send would only delay them.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let stopping = member.stopping();
    tokio::pin!(stopping);
    let Some(tls) = tls else {
        let spoke = tokio::time::timeout(FIRST_BYTE_TIMEOUT, stream.readable());
        let spoke = tokio::select! {
            spoke = spoke => matches!(spoke, Ok(Ok(()))),
            () = &mut stopping => false,
        };
        if spoke {
            serve_stream(stream, &builder, dispatch, &member).await;
        }
        return;
    };
    let shaken = tokio::select! {
        shaken = handshake(stream, || tls.acceptor(), &member.handshakes) => shaken,
        () = &mut stopping => return,
    };
    let stream = match shaken {
        Ok(stream) => stream,
        Err(error) => {
            member.metrics.handshakes_failed.add(1);
            tracing::debug!(%error, "a client's TLS handshake failed");
            return;
        }
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    if !tls.admits(certificate) {
        member.metrics.handshakes_failed.add(1);
        tracing::debug!("a client's certificate is not one of those that are allowed by name");
        return;
    }
    let name = certificate.and_then(|certificate| tls::common_name(certificate));
    let dispatch = match name.filter(|_| tls.names_users()) {
        Some(name) => dispatch.of(CommonName(name.into())),
        None => dispatch,
    };
    serve_stream(stream, &builder, dispatch, &member).await;
}

/// Serves a connection until it ends, or the server goes away and it has done what it was doing.
async fn serve_stream<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    builder: &Builder<TokioExecutor>,
    dispatch: Dispatch,
    member: &Member,
) {
    let stopping = member.stopping();
    tokio::pin!(stopping);
    let serving = builder.serve_connection(TokioIo::new(Lenient::new(stream)), dispatch);
    tokio::pin!(serving);
    let ended = tokio::select! {
        biased;
        ended = serving.as_mut() => ended,
        () = &mut stopping => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a client's connection ended");
    }
}
