//! HTTP/2 by hand: what no library would send.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tokio::net::TcpSocket;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const GO_AWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// A connection that has to end does by then.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header as a literal that no table remembers.
fn header(name: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name.as_bytes(), value] {
        let mut length = text.len();
        if length < 127 {
            bytes.push(u8::try_from(length).unwrap());
        } else {
            bytes.push(127);
            length -= 127;
            while length >= 128 {
                bytes.push(u8::try_from(length % 128).unwrap() | 128);
                length /= 128;
            }
            bytes.push(u8::try_from(length).unwrap());
        }
        bytes.extend(text);
    }
    bytes
}

fn request_head(path: &str) -> Vec<u8> {
    head("POST", path)
}

fn head(method: &str, path: &str) -> Vec<u8> {
    [
        header(":method", method.as_bytes()),
        header(":scheme", b"http"),
        header(":path", path.as_bytes()),
        header(":authority", b"localhost"),
        header("content-type", b"application/grpc"),
        header("te", b"trailers"),
    ]
    .concat()
}

/// A connection that has said hello; it reads nothing unless it is told to.
pub(crate) fn connect(to: SocketAddr) -> Option<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2)).ok()?;
    // An attack that the server does not read is one that ends.
    stream.set_write_timeout(Some(Duration::from_millis(300))).ok()?;
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).ok()?;
    Some(stream)
}

/// Whether the server ends the connection, by an end or by a reset.
fn ends(stream: &mut TcpStream) -> bool {
    let mut bytes = [0; 16 << 10];
    stream.set_read_timeout(Some(ENDS_WITHIN)).unwrap();
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            }
        }
    }
}

/// Reads away what has come, without waiting for more.
fn read_away(stream: &mut TcpStream) {
    let mut bytes = [0; 16 << 10];
    if stream.set_nonblocking(true).is_ok() {
        while stream.read(&mut bytes).is_ok_and(|count| count > 0) {}
        let _again = stream.set_nonblocking(false);
    }
}

/// Streams that are begun and reset at once (CVE-2023-44487).
pub(crate) fn rapid_reset(to: SocketAddr) {
    reset_at_once(to, END_HEADERS, &request_head("/etcdserverpb.KV/Range"));
}

/// The same with pages that are made aside, and that nobody waits for.
pub(crate) fn rapid_reset_of_pages(to: SocketAddr) {
    reset_at_once(to, END_HEADERS | END_STREAM, &head("GET", "/metrics"));
}

fn reset_at_once(to: SocketAddr, flags: u8, head: &[u8]) {
    let Some(mut stream) = connect(to) else { return };
    for batch in 0_u32..20 {
        let mut bytes = Vec::new();
        for number in 0..1000 {
            let id = (batch * 1000 + number) * 2 + 1;
            bytes.extend(frame(HEADERS, flags, id, head));
            bytes.extend(frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()));
        }
        if stream.write_all(&bytes).is_err() {
            break;
        }
        read_away(&mut stream);
    }
    assert!(ends(&mut stream), "who resets streams as fast as it begins them goes on");
}

/// A head that never ends (CVE-2024-27316).
pub(crate) fn continuation_flood(to: SocketAddr) {
    let Some(mut stream) = connect(to) else { return };
    let mut bytes = frame(HEADERS, 0, 1, &request_head("/etcdserverpb.KV/Range"));
    let more = header("x-more", &[b'x'; 16_000]);
    for _ in 0..2000 {
        bytes.extend(frame(CONTINUATION, 0, 1, &more));
        if stream.write_all(&bytes).is_err() {
            break;
        }
        bytes.clear();
    }
    assert!(ends(&mut stream), "who sends a head without end goes on");
}

/// Heads of a megabyte, whole ones.
pub(crate) fn huge_headers(to: SocketAddr) {
    let Some(mut stream) = connect(to) else { return };
    for number in 0_u32..50 {
        let id = number * 2 + 1;
        let mut bytes = frame(HEADERS, 0, id, &request_head("/etcdserverpb.KV/Range"));
        for _ in 0..64 {
            bytes.extend(frame(CONTINUATION, 0, id, &header("x-more", &[b'x'; 16_000])));
        }
        bytes.extend(frame(CONTINUATION, END_HEADERS, id, &header("x-last", b"x")));
        if stream.write_all(&bytes).is_err() {
            break;
        }
    }
    assert!(ends(&mut stream), "who sends heads of a megabyte goes on");
}

/// The same, of a socket that takes hardly anything while nobody reads it.
fn connect_narrow(to: SocketAddr) -> Option<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = TcpSocket::new_v4().ok()?;
        socket.set_recv_buffer_size(4096).ok()?;
        tokio::time::timeout(Duration::from_secs(2), socket.connect(to)).await.ok()?.ok()
    })?;
    let mut stream = stream.into_std().ok()?;
    stream.set_nonblocking(false).ok()?;
    stream.set_write_timeout(Some(Duration::from_secs(2))).ok()?;
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).ok()?;
    Some(stream)
}

/// Frames that want an answer each. The server reads no more of them than it can answer, so that
/// they cannot all be written.
fn flood(to: SocketAddr, one: &[u8]) {
    let Some(mut stream) = connect_narrow(to) else { return };
    let many = one.repeat(1000);
    let all = (0..3000).all(|_| stream.write_all(&many).is_ok());
    assert!(!all, "three million answers wait for who reads none");
}

/// Settings, each of which wants to be acknowledged (CVE-2019-9515), by who reads nothing.
pub(crate) fn settings_flood(to: SocketAddr) {
    flood(to, &frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]));
}

/// Pings, each of which wants an answer (CVE-2019-9512), by who reads nothing.
pub(crate) fn ping_flood(to: SocketAddr) {
    flood(to, &frame(PING, 0, 0, b"12345678"));
}

/// One who cancels many watches at a time, those that are open and those that it has only just
/// asked for: an honest client whose caller went away. It is served on.
pub(crate) fn honest_cancels(to: SocketAddr, open: u32, just_begun: u32) {
    let mut stream = connect(to).expect("an honest client is let in");
    stream.set_write_timeout(Some(ENDS_WITHIN)).unwrap();
    stream.set_read_timeout(Some(ENDS_WITHIN)).unwrap();
    let head = request_head("/etcdserverpb.Watch/Watch");
    let begin = |number: u32| {
        let id = number * 2 + 1;
        // A watch of the key `k`, in a message of five bytes.
        let watch = b"\0\0\0\0\x05\x0a\x03\x0a\x01k";
        [frame(HEADERS, END_HEADERS, id, &head), frame(DATA, 0, id, watch)].concat()
    };
    let cancel = |number: u32| frame(RST_STREAM, 0, number * 2 + 1, &8_u32.to_be_bytes());
    for number in 0..open {
        stream.write_all(&begin(number)).unwrap();
    }
    let mut created = 0;
    while created < open {
        let (kind, _) = read_frame(&mut stream);
        created += u32::from(kind == DATA);
    }
    let all: Vec<u8> = (0..open).flat_map(cancel).collect();
    stream.write_all(&all).unwrap();
    let both = |number| [begin(number), cancel(number)].concat();
    let all: Vec<u8> = (open..open + just_begun).flat_map(both).collect();
    stream.write_all(&all).unwrap();
    stream.write_all(&frame(PING, 0, 0, b"served??")).unwrap();
    while read_frame(&mut stream) != (PING, ACK) {}
}

/// Kind and flags of the next frame.
fn read_frame(stream: &mut TcpStream) -> (u8, u8) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).expect("an honest client is not cut off");
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).expect("an honest client is not cut off");
    assert_ne!(head[3], GO_AWAY, "an honest client is told to go away: {payload:?}");
    (head[3], head[4])
}

/// Bytes that are no HTTP/2.
pub(crate) fn garbage(to: SocketAddr) {
    for length in [1_usize, 9, 100, 10_000] {
        let Some(mut stream) = connect(to) else { return };
        let bytes: Vec<u8> = (0..length).map(|at| u8::try_from(at * 37 % 251).unwrap()).collect();
        let _sent = stream.write_all(&bytes);
        read_away(&mut stream);
    }
}
