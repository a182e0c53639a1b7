//! Why a server does not start, or ends: each with what to do about it and an exit code that
//! `docs/exit-codes.md` explains.

mod exit;
mod options;
mod start;

pub use exit::ExitReason;
pub use options::OptionsError;
pub use start::StartError;

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn each_way_to_end_has_its_code() {
        let io = |kind| io::Error::from(kind);
        let dir = PathBuf::from("/data");
        let disk = |kind| StartError::Disk { doing: "making", path: dir.clone(), error: io(kind) };
        let starts = [
            (StartError::Options(OptionsError::Empty { option: "name" }), 10),
            (StartError::ExistingWithoutCluster, 10),
            (StartError::DataOfAnotherCluster { dir: dir.clone(), found: 1, wanted: 2 }, 11),
            (StartError::DataDirInUse { dir: dir.clone() }, 12),
            (
                StartError::Listen {
                    what: "client",
                    address: "127.0.0.1:2379".to_owned(),
                    error: io(io::ErrorKind::AddrInUse),
                },
                13,
            ),
            (StartError::IdentityDamaged { file: dir.clone(), reason: "empty".to_owned() }, 14),
            (disk(io::ErrorKind::PermissionDenied), 15),
            (disk(io::ErrorKind::StorageFull), 16),
            (StartError::Host(host::StartError::Io(io(io::ErrorKind::StorageFull))), 16),
        ];
        for (error, code) in starts {
            assert_eq!(error.exit_code(), code, "{error}");
        }
        assert_eq!(ExitReason::Shutdown.exit_code(), 0);
        assert_eq!(ExitReason::Removed.exit_code(), 22);
        let lost = ExitReason::DataLost { name: "n2".to_owned(), member_id: 0x2b };
        assert_eq!(lost.exit_code(), 19);
        assert!(lost.to_string().contains("member replace 2b"), "{lost}");
        let fatal =
            host::Fatal::LogWrite { kind: io::ErrorKind::StorageFull, text: "full".to_owned() };
        assert_eq!(ExitReason::Fatal(fatal.clone()).exit_code(), 20);
        assert!(ExitReason::Fatal(fatal).to_string().contains("free space"));
    }

    #[test]
    fn messages_name_the_value_and_the_remedy() {
        let text = StartError::DataOfAnotherMember {
            dir: PathBuf::from("/data"),
            found: "a".to_owned(),
            wanted: "b".to_owned(),
        }
        .to_string();
        assert!(text.contains("/data") && text.contains("--name=a"), "{text}");
    }
}
