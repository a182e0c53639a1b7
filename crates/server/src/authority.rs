//! Clients whose `:authority` is none.
//!
//! etcd's Go clients sometimes send the endpoint as it was typed, `http://10.0.0.1:2379`, or
//! `#initially=[…]` (etcd-io/etcd#13192): `etcdctl endpoint status --cluster` is one. Go's servers
//! take it; h2 refuses the request with PROTOCOL_ERROR and has no switch for it (hyperium/h2#442).
//! Nobody here looks at the authority, so [`Lenient`] puts a well-formed one in its place before h2
//! reads it.
//!
//! It looks at the first HEADERS frame of a connection. If that is well-formed, as from every other
//! client, the connection is never looked at again. If not, each literal authority is replaced by a
//! shorter one. HPACK allows that: an entry that is shorter here than in the client's own table is
//! only forgotten later here, and indexes count from the newest entry, so none ever changes its
//! meaning (RFC 7541 §2.3.3, §4.3).

use std::io;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};

use http::uri::Authority;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD_BYTES: usize = 9;
/// The most a client may send in a frame, since nothing else is announced to it.
const FRAME_BYTES_MAX: usize = 16_384;
const HEADERS: u8 = 1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Bits of the code of each byte, and of the end, in RFC 7541 Appendix B. The code is canonical, so
/// the lengths say it all.
#[rustfmt::skip]
const CODE_BITS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// Bytes and the end in order of their codes, with the length and value of each code.
static CODES: LazyLock<Vec<(u8, u32, usize)>> = LazyLock::new(|| {
    let mut symbols: Vec<usize> = (0..CODE_BITS.len()).collect();
    symbols.sort_by_key(|symbol| (CODE_BITS[*symbol], *symbol));
    let (mut code, mut bits) = (0, 0);
    let assign = |symbol: usize| {
        code <<= CODE_BITS[symbol] - bits;
        bits = CODE_BITS[symbol];
        let assigned = (bits, code, symbol);
        code += 1;
        assigned
    };
    symbols.into_iter().map(assign).collect()
});

/// Decodes a Huffman string; `None` for what is none.
fn huffman_decode(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let (mut code, mut bits) = (0_u32, 0_u8);
    for byte in bytes {
        for shift in (0..8).rev() {
            code = code << 1 | u32::from(byte >> shift & 1);
            bits += 1;
            if bits > 30 {
                return None;
            }
            let found = CODES.binary_search_by_key(&(bits, code), |(bits, code, _)| (*bits, *code));
            if let Ok(at) = found {
                text.push(u8::try_from(CODES[at].2).ok()?);
                (code, bits) = (0, 0);
            }
        }
    }
    // What is left over is padding: less than a byte of ones.
    (bits < 8 && code == (1 << bits) - 1).then_some(text)
}

/// Walks a block of header fields.
struct Walk<'a> {
    block: &'a [u8],
    at: usize,
}

impl Walk<'_> {
    /// RFC 7541 §5.1.
    fn integer(&mut self, prefix_bits: u8) -> Option<usize> {
        let mask = (1_usize << prefix_bits) - 1;
        let mut value = usize::from(*self.block.get(self.at)?) & mask;
        self.at += 1;
        if value < mask {
            return Some(value);
        }
        for shift in [0, 7, 14, 21] {
            let byte = usize::from(*self.block.get(self.at)?);
            self.at += 1;
            value += (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// RFC 7541 §5.2: whether it is Huffman-coded, and its bytes.
    fn string(&mut self) -> Option<(bool, &[u8])> {
        let huffman = self.block.get(self.at)? & 0x80 != 0;
        let length = self.integer(7)?;
        let bytes = self.block.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some((huffman, bytes))
    }
}

/// What is to be done with a block of header fields.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It is well-formed, or says nothing of the authority, or is not understood: h2 shall decide.
    Leave,
    /// Its authority was replaced.
    Replace(Vec<u8>),
}

fn judge(block: &[u8]) -> Verdict {
    let mut walk = Walk { block, at: 0 };
    while let Some((value_at, value)) = next_authority(&mut walk) {
        if Authority::try_from(&value[..]).is_err() {
            let mut replaced = block[..value_at].to_vec();
            let stand_in = stand_in(&value);
            // Shorter than 127 bytes: one byte of length, not Huffman-coded.
            replaced.push(u8::try_from(stand_in.len()).unwrap_or_default());
            replaced.extend_from_slice(stand_in);
            replaced.extend_from_slice(&block[walk.at..]);
            return Verdict::Replace(replaced);
        }
    }
    Verdict::Leave
}

/// The next literal authority: where its value begins, and the value. The walk is behind it then.
fn next_authority(walk: &mut Walk<'_>) -> Option<(usize, Vec<u8>)> {
    while let Some(first) = walk.block.get(walk.at) {
        let prefix_bits = match first {
            0x80.. => {
                walk.integer(7)?;
                continue;
            }
            0x40.. => 6,
            0x20.. => {
                walk.integer(5)?;
                continue;
            }
            _ => 4,
        };
        let name = walk.integer(prefix_bits)?;
        if name == 0 {
            walk.string()?;
        }
        let value_at = walk.at;
        let (huffman, bytes) = walk.string()?;
        // 1 is `:authority` in the static table.
        if name == 1 {
            let value = if huffman { huffman_decode(bytes)? } else { bytes.to_vec() };
            return Some((value_at, value));
        }
    }
    None
}

/// A well-formed authority that is not longer than what it stands for.
fn stand_in(value: &[u8]) -> &'static [u8] {
    const NAME: &[u8] = b"localhost";
    &NAME[..NAME.len().min(value.len())]
}

/// Where in the stream of bytes the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the preface, if it is HTTP/2 at all.
    Preface,
    /// At the head of a frame. `certain` once the client has shown that it needs this.
    Frame { certain: bool },
    /// Inside a frame that is none of ours.
    Inside { left: usize, certain: bool },
    /// Never looks again.
    Trusted,
}

/// A socket whose client may be careless about the authority.
#[derive(Debug)]
pub(crate) struct Lenient<S> {
    inner: S,
    place: Place,
    /// Read and not yet looked at.
    raw: Vec<u8>,
    /// Looked at and not yet handed on, from `handed` on.
    clean: Vec<u8>,
    handed: usize,
}

impl<S> Lenient<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, place: Place::Preface, raw: Vec::new(), clean: Vec::new(), handed: 0 }
    }

    /// Moves `count` bytes from raw to clean.
    fn pass(&mut self, count: usize) {
        self.clean.extend(self.raw.drain(..count));
    }

    /// Looks at what was read, as far as it goes.
    fn look(&mut self) {
        while self.look_once() {}
    }

    /// Whether it got on.
    fn look_once(&mut self) -> bool {
        match self.place {
            Place::Preface => {
                let known = self.raw.len().min(PREFACE.len());
                if self.raw[..known] != PREFACE[..known] {
                    self.place = Place::Trusted;
                } else if known < PREFACE.len() {
                    return false;
                } else {
                    self.pass(known);
                    self.place = Place::Frame { certain: false };
                }
            }
            Place::Frame { certain } => return self.look_at_frame(certain),
            Place::Inside { left, certain } => {
                let count = left.min(self.raw.len());
                if count == 0 {
                    return false;
                }
                self.pass(count);
                let left = left - count;
                self.place = if left == 0 {
                    Place::Frame { certain }
                } else {
                    Place::Inside { left, certain }
                };
            }
            Place::Trusted => {
                let count = self.raw.len();
                self.pass(count);
                return false;
            }
        }
        true
    }

    fn look_at_frame(&mut self, certain: bool) -> bool {
        let Some(head) = self.raw.get(..FRAME_HEAD_BYTES) else { return false };
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let (kind, flags) = (head[3], head[4]);
        if kind != HEADERS || flags & END_HEADERS == 0 || length > FRAME_BYTES_MAX {
            self.pass(FRAME_HEAD_BYTES);
            if length > 0 {
                self.place = Place::Inside { left: length, certain };
            }
            return true;
        }
        let end = FRAME_HEAD_BYTES + length;
        let Some(frame) = self.raw.get(..end) else { return false };
        match replace_authority(&frame[FRAME_HEAD_BYTES..], flags) {
            None => {
                self.pass(end);
                self.place = if certain { Place::Frame { certain } } else { Place::Trusted };
            }
            Some(payload) => {
                let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
                self.clean.extend_from_slice(&length[1..]);
                self.clean.extend_from_slice(&self.raw[3..FRAME_HEAD_BYTES]);
                self.clean.extend_from_slice(&payload);
                self.raw.drain(..end);
                self.place = Place::Frame { certain: true };
            }
        }
        true
    }

    /// Hands on what is clean; whether there was something.
    fn hand_on(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let count = (self.clean.len() - self.handed).min(buffer.remaining());
        buffer.put_slice(&self.clean[self.handed..self.handed + count]);
        self.handed += count;
        if self.handed == self.clean.len() {
            self.clean.clear();
            self.handed = 0;
        }
        count > 0
    }
}

/// The payload of a HEADERS frame with another authority; `None` if it can stay as it is.
fn replace_authority(payload: &[u8], flags: u8) -> Option<Vec<u8>> {
    let padded = usize::from(flags & PADDED != 0);
    let padding = if padded == 1 { usize::from(*payload.first()?) } else { 0 };
    let begin = padded + if flags & PRIORITY == 0 { 0 } else { 5 };
    let end = payload.len().checked_sub(padding)?;
    let Verdict::Replace(block) = judge(payload.get(begin..end)?) else { return None };
    let mut replaced = payload[..begin].to_vec();
    replaced.extend_from_slice(&block);
    replaced.extend_from_slice(&payload[end..]);
    // A stand-in that was Huffman-coded shorter may be longer on the wire; not beyond a frame.
    (replaced.len() <= FRAME_BYTES_MAX).then_some(replaced)
}

impl<S: AsyncRead + Unpin> AsyncRead for Lenient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if buffer.remaining() == 0 || this.hand_on(buffer) {
                return Poll::Ready(Ok(()));
            }
            if this.place == Place::Trusted && this.raw.is_empty() {
                return Pin::new(&mut this.inner).poll_read(cx, buffer);
            }
            let mut bytes = [0; 4096];
            let mut read = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                // The end: whatever is there goes on as it is.
                this.place = Place::Trusted;
            }
            this.raw.extend_from_slice(read.filled());
            this.look();
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lenient<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
