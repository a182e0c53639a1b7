//! The runner of golden scripts: stories of a group in text files.
//!
//! A script is comments, commands, and behind `----` what the commands led to, up to an empty
//! line. The output is made of typed events and messages alone. `REWRITE=1` writes it anew; look
//! at the difference before you keep it.

mod host;
mod look;
mod network;
mod rule;
mod words;
mod world;

use std::fs;
use std::path::{Path, PathBuf};

use self::words::Words;
use crate::cluster::Cluster;

/// Runs every script of a folder; returns how many there were.
pub(crate) fn run_folder(folder: &str) -> usize {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    let differing: Vec<String> = files.iter().filter_map(|file| run_file(file).err()).collect();
    assert!(differing.is_empty(), "{}", differing.join("\n\n"));
    files.len()
}

fn run_file(file: &Path) -> Result<(), String> {
    let text = fs::read_to_string(file).unwrap();
    let actual = run_script(&file.display().to_string(), &text);
    if std::env::var_os("REWRITE").is_some() {
        fs::write(file, actual).unwrap();
        return Ok(());
    }
    let place = text.lines().zip(actual.lines()).position(|(expected, actual)| expected != actual);
    if text == actual {
        return Ok(());
    }
    let place = place.unwrap_or_else(|| text.lines().count().min(actual.lines().count()));
    Err(format!(
        "{}:{}\n  expected: {}\n  actual:   {}\n\
         REWRITE=1 cargo test -p raft --test scripts rewrites it",
        file.display(),
        place + 1,
        text.lines().nth(place).unwrap_or("end of file"),
        actual.lines().nth(place).unwrap_or("end of file"),
    ))
}

fn run_script(name: &str, text: &str) -> String {
    let mut story = Story { cluster: None, name, line: 0 };
    let mut written = String::new();
    let mut output: Option<Vec<String>> = None;
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        story.line = number + 1;
        let is_command = !line.is_empty() && !line.starts_with('#') && line != "----";
        if is_command {
            let said = story.run(line);
            let output = output.get_or_insert_default();
            if line == "silent" {
                output.clear(); // What the preparation of a story leads to is not part of it.
            }
            output.extend(said);
        }
        if line != "----" {
            written.push_str(line);
            written.push('\n');
        }
        // The commands end at their output, at an empty line, or with the file.
        let ends = line == "----" || lines.peek().is_none_or(|(_, next)| next.is_empty());
        if let Some(said) = output.take_if(|_| ends && (is_command || line == "----")) {
            let said = if said.is_empty() { vec!["ok".to_owned()] } else { said };
            written.push_str("----\n");
            said.iter().for_each(|line| written.push_str(&format!("{line}\n")));
            while lines.next_if(|(_, next)| !next.is_empty()).is_some() {}
        }
    }
    written
}

struct Story<'a> {
    cluster: Option<Cluster>,
    name: &'a str,
    line: usize,
}

impl Story<'_> {
    fn run(&mut self, line: &str) -> Vec<String> {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap_or_default();
        let words = Words(words.collect());
        if verb == "cluster" {
            self.cluster = Some(world::new_cluster(&words));
        }
        let at = format!("{}:{} {line}", self.name, self.line);
        let cluster = self.cluster.as_mut().unwrap_or_else(|| panic!("{at}: no cluster yet"));
        let known = host::run_verb(cluster, verb, &words)
            || host::run_leadership_verb(cluster, verb, &words)
            || world::run_world_verb(cluster, verb, &words)
            || look::run_look_verb(cluster, verb, &words)
            || network::run_network_verb(cluster, verb, &words);
        assert!(known, "{at}: unknown command");
        cluster.take_lines()
    }
}
