//! `cargo xtask tidy`: the house rules that neither rustfmt nor clippy can see.
//!
//! Each rule is a function from files to problems, so that its test can hand it a bad file and see
//! it turn red. A problem says where, what, and what to do about it.

mod document;
mod floors;
mod markdown;
mod ratchet;
mod source;
mod track_record;
mod words;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use source::Source;

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    /// The file, relative to the workspace, with a line where one is known.
    place: String,
    /// What is wrong and what to do.
    message: String,
}

impl Problem {
    fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into() }
    }

    fn at(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self::new(format!("{path}:{line}"), message)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// A text file of the workspace.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// Path relative to the workspace, with forward slashes.
    path: String,
    text: String,
}

/// Every text file that the rules look at, and the Rust among them already scanned.
pub(crate) struct House {
    root: PathBuf,
    files: Vec<File>,
    sources: Vec<Source>,
}

impl House {
    fn read(root: &Path) -> Result<Self, String> {
        let mut files = Vec::new();
        collect(root, root, &mut files).map_err(|error| format!("tidy: {error}"))?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self::new(root, files))
    }

    fn new(root: &Path, files: Vec<File>) -> Self {
        let sources = files
            .iter()
            .filter(|file| file.path.ends_with(".rs"))
            .map(|file| Source::scan(&file.path, &file.text))
            .collect();
        Self { root: root.to_path_buf(), files, sources }
    }
}

/// Runs every rule and prints what they found.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<(), String> {
    let tighten = match arguments {
        [] => false,
        ["--tighten"] => true,
        _ => return Err("usage: cargo xtask tidy [--tighten]".to_owned()),
    };
    let mut house = House::read(root)?;
    if tighten {
        println!("{}", ratchet::tighten(&house)?);
        house = House::read(root)?;
    }
    let mut problems = floors::check(&floors::read_packages(root)?);
    problems.extend(floors::check_names(&house.sources));
    problems.extend(ratchet::check(&house));
    problems.extend(words::check(&house));
    problems.extend(markdown::check(&house));
    problems.extend(document::check(&house));
    problems.extend(track_record::check(&house));
    problems.sort();
    if problems.is_empty() {
        println!("tidy: {} files, no problem", house.files.len());
        return Ok(());
    }
    for problem in &problems {
        println!("{problem}");
    }
    Err(format!("tidy: {} problems in {} files", problems.len(), house.files.len()))
}

const FOLDERS_SKIPPED: &[&str] = &["target", ".git", "node_modules", ".venv", "__pycache__"];
const ENDINGS_READ: &[&str] = &["rs", "md", "toml", "py", "sh", "proto", "txt"];

fn collect(root: &Path, folder: &Path, files: &mut Vec<File>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            if !FOLDERS_SKIPPED.contains(&name.as_str()) {
                collect(root, &path, files)?;
            }
            continue;
        }
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let in_ci = path.strip_prefix(root).is_ok_and(|inside| inside.starts_with(".ci"));
        if !ENDINGS_READ.contains(&ending) && !in_ci {
            continue;
        }
        let relative = path.strip_prefix(root).unwrap_or(&path);
        let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        files.push(File { path: relative.to_string_lossy().replace('\\', "/"), text });
    }
    Ok(())
}

#[cfg(test)]
fn house_of(files: &[(&str, &str)]) -> House {
    let files = files
        .iter()
        .map(|&(path, text)| File { path: path.to_owned(), text: text.to_owned() })
        .collect();
    House::new(Path::new("/nowhere"), files)
}
