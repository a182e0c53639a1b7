//! The encodings of the store: little, hand-written, versioned.
//!
//! Numbers are LEB128, signed ones zigzag before it; strings carry their length. A decoder never
//! panics and never reserves more than the bytes at hand can fill.

mod command;
mod record;

use bytes::Bytes;

pub(crate) use command::{
    decode_alarm, decode_command, decode_downgrade, decode_member, encode_alarm, encode_command,
    encode_downgrade, encode_member,
};
pub(crate) use record::{LogOp, LogRecord, Part, decode_record, encode_record};

/// Writes values behind each other.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    pub(crate) bytes: Vec<u8>,
}

impl Encoder {
    pub(crate) fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.bytes.push(u8::from(value));
    }

    pub(crate) fn u64(&mut self, mut value: u64) {
        while value >= 0x80 {
            // The mask leaves seven bits, so nothing is cut.
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push((value & 0x7f) as u8);
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.u64(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    pub(crate) fn len(&mut self, value: usize) {
        self.u64(value as u64);
    }

    pub(crate) fn slice(&mut self, value: &[u8]) {
        self.len(value.len());
        self.bytes.extend_from_slice(value);
    }

    pub(crate) fn strings(&mut self, values: &[String]) {
        self.len(values.len());
        for value in values {
            self.slice(value.as_bytes());
        }
    }
}

/// The bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Reads what an [`Encoder`] wrote; byte strings are views of the input.
#[derive(Debug)]
pub(crate) struct Decoder {
    bytes: Bytes,
    at: usize,
}

impl Decoder {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        let value = *self.bytes.get(self.at).ok_or(Malformed)?;
        self.at += 1;
        Ok(value)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Malformed> {
        let value = self.u64()?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    /// A count of things that take at least a byte each, so that it bounds what is reserved.
    pub(crate) fn len(&mut self) -> Result<usize, Malformed> {
        let value = usize::try_from(self.u64()?).map_err(|_| Malformed)?;
        if value > self.bytes.len() - self.at { Err(Malformed) } else { Ok(value) }
    }

    pub(crate) fn slice(&mut self) -> Result<Bytes, Malformed> {
        let len = self.len()?;
        let value = self.bytes.slice(self.at..self.at + len);
        self.at += len;
        Ok(value)
    }

    pub(crate) fn string(&mut self) -> Result<String, Malformed> {
        String::from_utf8(self.slice()?.to_vec()).map_err(|_| Malformed)
    }

    pub(crate) fn strings(&mut self) -> Result<Vec<String>, Malformed> {
        self.list(Self::string)
    }

    pub(crate) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        /// Items are larger in memory than on the wire; beyond this the vector grows as they come.
        const RESERVED_MAX: usize = 256;
        let count = self.len()?;
        let mut items = Vec::with_capacity(count.min(RESERVED_MAX));
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests;
