//! A socket whose other side has to be quick until it has said who it is.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use env::os::OsClock;
use env::{Clock, Moment};

/// Reads that all together may take so long, however few bytes each of them brings.
#[derive(Debug)]
pub(super) struct Hurried<'a> {
    socket: &'a TcpStream,
    clock: &'a OsClock,
    until: Option<Moment>,
}

impl<'a> Hurried<'a> {
    pub(super) fn new(socket: &'a TcpStream, clock: &'a OsClock, within: Duration) -> Self {
        Self { socket, clock, until: Some(clock.now().after(within)) }
    }

    pub(super) fn socket(&self) -> &'a TcpStream {
        self.socket
    }

    /// From now on the other side may take its time.
    pub(super) fn relax(&mut self) -> io::Result<()> {
        self.until = None;
        self.socket.set_read_timeout(None)
    }
}

impl Read for Hurried<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(until) = self.until {
            let left = until.since(self.clock.now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.socket.set_read_timeout(Some(left))?;
        }
        self.socket.read(buffer)
    }
}

impl Write for Hurried<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A byte now and then keeps a time-out of each read from ever running out.
    #[test]
    fn one_that_drips_bytes_is_cut_off_all_the_same() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("bound");
        let dripping = thread::spawn(move || {
            let mut stream = TcpStream::connect(address).expect("it listens");
            while stream.write_all(&[0]).is_ok() {
                thread::park_timeout(Duration::from_millis(5));
            }
        });
        let (socket, _) = listener.accept().expect("it has connected");
        let clock = OsClock::new();
        let mut hurried = Hurried::new(&socket, &clock, Duration::from_millis(100));
        let error = hurried.read_exact(&mut [0; 1 << 20]).expect_err("it is too slow");
        let kinds = [io::ErrorKind::TimedOut, io::ErrorKind::WouldBlock];
        assert!(kinds.contains(&error.kind()), "{error}");
        let _ = socket.shutdown(std::net::Shutdown::Both);
        dripping.join().expect("no panic");
    }
}
