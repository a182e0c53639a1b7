//! What the servers' processes used: CPU time, memory, bytes to disk, from `/proc`.

use std::fs;

use crate::ClientError;

/// The kernel counts CPU time for programs in ticks of a hundredth of a second, on every machine.
const TICK_US: u64 = 10_000;
/// Bytes of a page on the machines that we run on.
const PAGE_BYTES: u64 = 4096;

/// Sums over some processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) cpu_us: u64,
    /// Bytes that were sent to the disk; needs the right to look.
    pub(crate) written_bytes: u64,
    /// Memory in use now.
    pub(crate) resident_bytes: u64,
}

impl Usage {
    pub(crate) fn of(pids: &[u32]) -> Result<Self, ClientError> {
        let mut sum = Self::default();
        for pid in pids {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
            let used = stat.ok().as_deref().and_then(parse_stat);
            let Some((ticks, pages)) = used else {
                let message =
                    format!("--pid {pid}: there is no such process, or /proc is not readable");
                return Err(ClientError::Argument(message));
            };
            sum.cpu_us += ticks * TICK_US;
            sum.resident_bytes += pages * PAGE_BYTES;
            let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
            sum.written_bytes += parse_io(&io).unwrap_or(0);
        }
        Ok(sum)
    }

    /// What was used since `before`; memory is that of now.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            cpu_us: self.cpu_us.saturating_sub(before.cpu_us),
            written_bytes: self.written_bytes.saturating_sub(before.written_bytes),
            resident_bytes: self.resident_bytes,
        }
    }
}

/// Ticks of user and system time, and resident pages. The program's name is in brackets and may
/// itself have spaces and brackets, so fields are counted behind the last one.
fn parse_stat(stat: &str) -> Option<(u64, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let user: u64 = fields.get(11)?.parse().ok()?;
    let system: u64 = fields.get(12)?.parse().ok()?;
    Some((user + system, fields.get(21)?.parse().ok()?))
}

fn parse_io(io: &str) -> Option<u64> {
    io.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_behind_the_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 2 3 4 5 150 50 8 9 20 0 9 0 100 123456 77 18446744073709551615";
        assert_eq!(parse_stat(stat), Some((200, 77)));
        assert_eq!(parse_stat("garbage"), None);
    }

    #[test]
    fn written_bytes_are_found() {
        assert_eq!(parse_io("rchar: 1\nwrite_bytes: 4096\ncancelled_write_bytes: 0\n"), Some(4096));
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(Usage::of(&[std::process::id()]).unwrap().resident_bytes > 0);
        assert!(Usage::of(&[u32::MAX]).is_err());
    }
}
