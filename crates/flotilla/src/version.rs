//! `--version`: etcd's form first, because scripts read its first line, and ours beside it.

use std::ffi::OsString;
use std::io::{self, Write};

/// Whether the arguments ask for the version and nothing else.
pub(crate) fn is_asked_for(arguments: &[OsString]) -> bool {
    let rest: Vec<&str> = arguments.iter().skip(1).filter_map(|word| word.to_str()).collect();
    matches!(rest.as_slice(), ["--version" | "-version" | "-V" | "version"])
        || matches!(rest.as_slice(), ["serve", "--version" | "-version"])
}

pub(crate) fn print(out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "etcd Version: {}", server::ETCD_VERSION)?;
    writeln!(out, "Flotilla Version: {}", server::FLOTILLA_VERSION)?;
    writeln!(out, "OS/Arch: {}/{}", std::env::consts::OS, std::env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(words: &[&str], expect: bool) {
        let arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
        assert_eq!(is_asked_for(&arguments), expect, "{words:?}");
    }

    #[test]
    fn the_version_is_asked_for_as_of_etcd() {
        check(&["flotilla", "--version"], true);
        check(&["flotilla", "serve", "--version"], true);
        check(&["flotilla", "serve", "--name", "--version"], false);
        check(&["flotilla"], false);
    }

    #[test]
    fn the_first_line_is_that_of_etcd() {
        let mut out = Vec::new();
        print(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("etcd Version: 3."), "{text}");
        assert!(text.contains("\nFlotilla Version: "), "{text}");
    }
}
