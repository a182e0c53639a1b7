//! Asks for a password, as `etcdctl` does when `--user` comes without one.

use std::io::{self, BufRead, IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// One line from standard input; at a terminal without showing it.
pub(crate) fn ask(user: &str) -> io::Result<String> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return read_line(&mut stdin.lock());
    }
    let mut stderr = io::stderr();
    write!(stderr, "Password of {user}: ")?;
    stderr.flush()?;
    let shown = tcgetattr(&stdin)?;
    let mut hidden = shown.clone();
    hidden.local_modes -= LocalModes::ECHO;
    tcsetattr(&stdin, OptionalActions::Flush, &hidden)?;
    let line = read_line(&mut stdin.lock());
    // Whatever came of it, what is typed next is to be seen.
    tcsetattr(&stdin, OptionalActions::Flush, &shown)?;
    writeln!(stderr)?;
    line
}

fn read_line(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_a_line_without_its_end() {
        let read = |text: &str| read_line(&mut text.as_bytes()).unwrap();
        assert_eq!(read("se cret\nmore"), "se cret");
        assert_eq!(read("secret\r\n"), "secret");
        assert_eq!(read("secret"), "secret");
        assert_eq!(read(""), "");
    }
}
