//! A light look at Rust text: where code ends and comments and literals begin, which lines are
//! tests, where functions are. It knows no grammar; rustfmt has made the text regular enough.

/// One Rust file, scanned.
#[derive(Debug)]
pub(crate) struct Source {
    /// Path relative to the workspace.
    pub(crate) path: String,
    /// The text with comments and the insides of literals blanked; newlines kept.
    pub(crate) code: String,
    /// For each line, whether it belongs to tests.
    pub(crate) line_is_test: Vec<bool>,
    /// Every function with a body.
    pub(crate) functions: Vec<Function>,
    /// Whether a tool wrote this file.
    pub(crate) generated: bool,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// First line, counted from 1.
    pub(crate) line: usize,
    /// Lines of the body that hold code, as clippy counts them.
    pub(crate) code_lines: usize,
}

impl Source {
    pub(crate) fn scan(path: &str, text: &str) -> Self {
        let code = blank_non_code(text);
        let line_is_test = test_lines(path, &code);
        let functions = functions(&code);
        let head = text.lines().take(5);
        let generated = path.contains("/generated/")
            || head.into_iter().any(|line| line.contains("@generated"));
        Self { path: path.to_owned(), code, line_is_test, functions, generated }
    }

    /// Lines that are not tests.
    pub(crate) fn product_lines(&self) -> usize {
        self.line_is_test.iter().filter(|&&is_test| !is_test).count()
    }

    /// The crate this file belongs to, by its folder: `crates/raft` or `xtask`.
    pub(crate) fn package_folder(&self) -> &str {
        let folders = if self.path.starts_with("crates/") { 2 } else { 1 };
        match self.path.match_indices('/').nth(folders - 1) {
            Some((end, _)) => &self.path[..end],
            None => "",
        }
    }
}

/// Replaces comments and the insides of string and character literals by spaces.
fn blank_non_code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => block_comment_end(bytes, at),
            b'"' => string_end(bytes, at + 1),
            b'r' if !follows_word(bytes, at) => raw_string_end(bytes, at).unwrap_or(at),
            b'\'' => char_end(bytes, at).unwrap_or(at),
            _ => at,
        };
        if end == at {
            at += 1;
            continue;
        }
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8_lossy(&code).into_owned()
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |length| at + length)
}

fn block_comment_end(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0;
    let mut here = at;
    while here + 1 < bytes.len() {
        match (bytes[here], bytes[here + 1]) {
            (b'/', b'*') => {
                depth += 1;
                here += 2;
            }
            (b'*', b'/') => {
                depth -= 1;
                here += 2;
                if depth == 0 {
                    return here;
                }
            }
            _ => here += 1,
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], first: usize) -> usize {
    let mut here = first;
    while here < bytes.len() {
        match bytes[here] {
            b'\\' => here += 2,
            b'"' => return here + 1,
            _ => here += 1,
        }
    }
    bytes.len()
}

fn follows_word(bytes: &[u8], at: usize) -> bool {
    // `br"…"` is a raw string as well, so one `b` before the `r` is no word.
    match at.checked_sub(1).map(|before| bytes[before]) {
        Some(b'b') => at >= 2 && is_word_byte(bytes[at - 2]),
        Some(byte) => is_word_byte(byte),
        None => false,
    }
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn raw_string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at + 1..].iter().take_while(|&&byte| byte == b'#').count();
    let quote = at + 1 + hashes;
    if bytes.get(quote) != Some(&b'"') {
        return None;
    }
    let closing = [vec![b'"'], vec![b'#'; hashes]].concat();
    let length = bytes[quote + 1..].windows(closing.len()).position(|window| window == closing);
    Some(length.map_or(bytes.len(), |length| quote + 1 + length + closing.len()))
}

/// A character literal; a lifetime has no closing quote and stays code.
fn char_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at + 1) == Some(&b'\\') {
        let closing = bytes[at + 3..].iter().take(10).position(|&byte| byte == b'\'')?;
        return Some(at + 3 + closing + 1);
    }
    let width = match bytes.get(at + 1)? {
        0..=0x7f => 1,
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    (bytes.get(at + 1 + width) == Some(&b'\'')).then_some(at + 2 + width)
}

/// Marks the lines of `#[cfg(test)]` items, and all lines of files that hold only tests.
fn test_lines(path: &str, code: &str) -> Vec<bool> {
    let count = code.lines().count();
    let only_tests = path.ends_with("/tests.rs")
        || path.contains("/tests/")
        || path.contains("/testing/")
        || path.contains("/benches/")
        || path.contains("/examples/")
        || path.starts_with("conformance/");
    let mut marks = vec![only_tests; count];
    for (at, _) in code.match_indices("#[cfg(test)]") {
        let first = line_of(code, at);
        let last = line_of(code, item_end(code, at));
        for mark in marks.iter_mut().take(last).skip(first - 1) {
            *mark = true;
        }
    }
    marks
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// The end of the item that begins at `at`: its closing brace, or the semicolon before any brace.
fn item_end(code: &str, at: usize) -> usize {
    match code[at..].find(['{', ';']) {
        Some(length) if code.as_bytes()[at + length] == b'{' => brace_end(code, at + length),
        Some(length) => at + length,
        None => code.len(),
    }
}

fn brace_end(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (offset, byte) in code.as_bytes()[open..].iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + offset;
        }
    }
    code.len().saturating_sub(1)
}

fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if at > 0 && is_word_byte(code.as_bytes()[at - 1]) {
            continue;
        }
        let name: String =
            code[at + 3..].chars().take_while(|&c| c.is_alphanumeric() || c == '_').collect();
        let Some(open) = body_start(code, at) else { continue };
        if name.is_empty() {
            continue;
        }
        let body = &code[open + 1..brace_end(code, open)];
        let code_lines = body.lines().filter(|line| !line.trim().is_empty()).count();
        found.push(Function { name, line: line_of(code, at), code_lines });
    }
    found
}

/// The brace that opens the body; a declaration without one ends in a semicolon outside brackets.
fn body_start(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (offset, byte) in code.as_bytes()[at..].iter().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b';' if depth == 0 => return None,
            b'{' if depth == 0 => return Some(at + offset),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_code(text: &str, expect: &str) {
        let words: Vec<String> =
            blank_non_code(text).split_whitespace().map(str::to_owned).collect();
        assert_eq!(words.join(" "), expect);
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        check_code("a // b\nc", "a c");
        check_code("a /* b /* c */ d */ e", "a e");
        check_code("a(\"b \\\" c\") d", "a( ) d");
        check_code("a r#\"b \" c\"# d", "a d");
        check_code("a '\"' b '\\'' c", "a b c");
        check_code("fn a<'b>(c: &'b str) {}", "fn a<'b>(c: &'b str) {}");
        check_code("for r in \"x\" {}", "for r in {}");
    }

    #[test]
    fn lines_of_a_test_module_are_tests() {
        let source =
            Source::scan("crates/a/src/b.rs", "fn a() {}\n#[cfg(test)]\nmod t {\n}\nfn c() {}\n");
        assert_eq!(source.line_is_test, [false, true, true, true, false]);
        assert_eq!(source.product_lines(), 2);
    }

    #[test]
    fn a_functions_comments_and_blank_lines_are_free() {
        let source = Source::scan(
            "crates/a/src/b.rs",
            "fn a(x: [u8; 4]) {\n    // why\n\n    b();\n    c();\n}\n",
        );
        assert_eq!(source.functions, [Function { name: "a".to_owned(), line: 1, code_lines: 2 }]);
    }

    #[test]
    fn a_file_knows_its_package() {
        assert_eq!(Source::scan("crates/raft/src/log/mod.rs", "").package_folder(), "crates/raft");
        assert_eq!(Source::scan("xtask/src/main.rs", "").package_folder(), "xtask");
    }
}
