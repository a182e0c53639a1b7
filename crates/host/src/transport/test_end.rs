//! One end of a connection, for tests: reads what is given, keeps what is written.

use std::io::{self, Cursor, Read, Write};

pub(super) struct End {
    pub(super) input: Cursor<Vec<u8>>,
    pub(super) output: Vec<u8>,
}

pub(super) fn end(input: Vec<u8>) -> End {
    End { input: Cursor::new(input), output: Vec::new() }
}

impl Read for End {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer)
    }
}

impl Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
