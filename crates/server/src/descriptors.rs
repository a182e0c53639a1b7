//! File descriptors: as many as the system lets this process have, some of them kept for the log,
//! the store and the peers. Without that clients could take all, and a log that cannot open its
//! next file ends its member.

/// Connections at a time; more are closed at once. Each costs some tens of kilobytes.
const CONNECTIONS_MAX: usize = 16_384;
/// Descriptors that are not for clients, if there are so many.
const KEPT: usize = 512;

/// How many connections of clients this process can have, after it has asked the system for all the
/// descriptors that it may have.
pub(crate) fn connections_max() -> usize {
    clients_share(env::os::raise_descriptors())
}

/// What of so many descriptors is for clients.
fn clients_share(descriptors: usize) -> usize {
    let kept = KEPT.min(descriptors / 2);
    CONNECTIONS_MAX.min(descriptors - kept)
}

#[cfg(test)]
mod tests {
    use super::clients_share;

    #[test]
    fn clients_never_get_all_descriptors() {
        assert_eq!(clients_share(256), 128);
        assert_eq!(clients_share(1024), 512);
        assert_eq!(clients_share(20_000), 16_384);
        assert_eq!(clients_share(usize::MAX), 16_384);
    }
}
