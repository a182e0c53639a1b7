//! Bytes over TLS on a socket that blocks.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::ops::{Deref, DerefMut};

use rustls::pki_types::CertificateDer;
use rustls::{ConnectionCommon, SideData};

use super::hurried::Hurried;

/// Read from the socket at a time: rustls alone would ask for 4 KiB.
const READ_BYTES: usize = 128 << 10;

/// A connection on its socket.
pub(super) struct TlsStream<'a, C> {
    connection: C,
    socket: &'a TcpStream,
    input: BufReader<Hurried<'a>>,
}

impl<'a, C, S> TlsStream<'a, C>
where
    C: DerefMut + Deref<Target = ConnectionCommon<S>>,
    S: SideData + 'static,
{
    pub(super) fn new(connection: C, input: Hurried<'a>) -> Self {
        let socket = input.socket();
        Self { connection, socket, input: BufReader::with_capacity(READ_BYTES, input) }
    }

    /// From now on the other side may take its time.
    pub(super) fn relax(&mut self) -> io::Result<()> {
        self.input.get_mut().relax()
    }

    /// Does the handshake.
    pub(super) fn shake_hands(&mut self) -> io::Result<()> {
        loop {
            self.flush()?;
            if !self.connection.is_handshaking() {
                return Ok(());
            }
            self.hear()?;
        }
    }

    /// What the other side has shown.
    pub(super) fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.connection.peer_certificates().and_then(<[_]>::first)
    }

    pub(super) fn into_connection(self) -> C {
        self.connection
    }

    /// Takes what the socket has.
    fn hear(&mut self) -> io::Result<()> {
        if self.connection.read_tls(&mut self.input)? == 0 && self.connection.is_handshaking() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let processed = self.connection.process_new_packets();
        if let Err(error) = processed {
            // The alert tells the other side what it did wrong; that it may not arrive is no news.
            let _ = self.flush();
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        Ok(())
    }
}

impl<C, S> Read for TlsStream<'_, C>
where
    C: DerefMut + Deref<Target = ConnectionCommon<S>>,
    S: SideData + 'static,
{
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Frames say themselves where they end: no goodbye is needed.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                done => return done,
            }
            self.flush()?;
            self.hear()?;
        }
    }
}

impl<C, S> Write for TlsStream<'_, C>
where
    C: DerefMut + Deref<Target = ConnectionCommon<S>>,
    S: SideData + 'static,
{
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.connection.writer().write(bytes)?;
        self.flush()?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            if self.connection.write_tls(&mut self.socket)? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }
}
