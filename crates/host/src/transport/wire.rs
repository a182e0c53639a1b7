//! The writing end of a connection to a peer, in plaintext or by TLS.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::net::TcpStream;

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use rustix::net::SendFlags;
use rustls::ClientConnection;

/// Frames written with one system call.
const WRITE_SLICES_MAX: usize = 64;
/// Plaintext that rustls turns into records before they are written.
const RECORDS_BYTES: usize = 256 << 10;
/// Larger frames are encrypted by the link's thread: whoever hands one over must not pay for it.
const INLINE_BYTES_MAX: usize = 16 << 10;

/// A connection that stands.
#[derive(Debug)]
pub(super) enum Wire {
    Plain(TcpStream),
    Secure(Box<SecureWire>),
}

#[derive(Debug)]
pub(super) struct SecureWire {
    socket: TcpStream,
    /// Only one writes at a time, see `Queue::writing`; nobody waits for this lock.
    connection: Mutex<ClientConnection>,
    /// The certificates that it was opened with.
    pub(super) epoch: u64,
}

/// What became of a frame that was not to be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// So many bytes of it have gone, or stand in line within the wire.
    Taken(usize),
    /// All of it stands in line within the wire, which has to be flushed.
    Unflushed,
}

impl Wire {
    pub(super) fn secure(socket: TcpStream, connection: ClientConnection, epoch: u64) -> Self {
        let mut connection = connection;
        connection.set_buffer_limit(Some(RECORDS_BYTES));
        Self::Secure(Box::new(SecureWire { socket, connection: Mutex::new(connection), epoch }))
    }

    /// Writes what the socket takes without waiting. An error shows again when the link's thread
    /// writes the rest, and is handled there.
    pub(super) fn send_now(&self, frame: &[u8]) -> Sent {
        match self {
            Self::Plain(socket) => Sent::Taken(send(socket, frame).unwrap_or(0)),
            Self::Secure(wire) => wire.send_now(frame),
        }
    }

    /// Writes all frames, and what stands in line; waits for the socket.
    pub(super) fn write_batch(&self, batch: &mut VecDeque<Bytes>) -> io::Result<()> {
        match self {
            Self::Plain(socket) => write_plain(socket, batch),
            Self::Secure(wire) => wire.write_batch(batch),
        }
    }
}

fn send(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
}

/// A socket that never makes its writer wait.
struct Impatient<'a>(&'a TcpStream);

impl Write for Impatient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        send(self.0, bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SecureWire {
    fn send_now(&self, frame: &[u8]) -> Sent {
        if frame.len() > INLINE_BYTES_MAX {
            return Sent::Taken(0);
        }
        let mut connection = self.connection.lock();
        // A record is whole or not at all, so a frame is taken whole or not at all.
        if connection.wants_write() || connection.writer().write_all(frame).is_err() {
            return Sent::Taken(0);
        }
        while connection.wants_write() {
            if !connection.write_tls(&mut Impatient(&self.socket)).is_ok_and(|written| written > 0)
            {
                return Sent::Unflushed;
            }
        }
        Sent::Taken(frame.len())
    }

    fn write_batch(&self, batch: &mut VecDeque<Bytes>) -> io::Result<()> {
        let mut connection = self.connection.lock();
        loop {
            while let Some(front) = batch.front_mut() {
                let taken = connection.writer().write(front)?;
                front.advance(taken);
                if !front.is_empty() {
                    break;
                }
                batch.pop_front();
            }
            while connection.wants_write() {
                if connection.write_tls(&mut &self.socket)? == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
            }
            if batch.is_empty() {
                return Ok(());
            }
        }
    }
}

fn write_plain(mut stream: &TcpStream, batch: &mut VecDeque<Bytes>) -> io::Result<()> {
    while !batch.is_empty() {
        let slices: Vec<IoSlice<'_>> =
            batch.iter().take(WRITE_SLICES_MAX).map(|frame| IoSlice::new(frame)).collect();
        let mut written = stream.write_vectored(&slices)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while let Some(front) = batch.front_mut() {
            if written < front.len() {
                front.advance(written);
                break;
            }
            written -= front.len();
            batch.pop_front();
        }
    }
    Ok(())
}
