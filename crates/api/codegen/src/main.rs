//! Writes `crates/api/src/generated` from `crates/api/proto`:
//!
//! ```text
//! cargo run -p api-codegen
//! ```
//!
//! The result is checked in, so that nobody needs this tool or a `protoc` to build; a test here
//! fails when the two differ. The compiler for the texts is `protox`, which is plain Rust.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use protox::prost::Message as _;

/// The texts, each with all it imports.
const TEXTS: [&str; 4] = ["rpc.proto", "v3lock.proto", "v3election.proto", "health.proto"];

/// Compiles the texts into Rust in `out`.
fn generate(api: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let descriptors = protox::compile(TEXTS, [api.join("proto")])?;
    // What the JSON gateway and the table of permissions know the services by.
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .out_dir(out)
        // A key or value stays the piece of the socket's buffer that it arrived in.
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}

/// The folder of the `api` crate.
fn api_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn main() -> Result<(), Box<dyn Error>> {
    let out = api_folder().join("src/generated");
    fs::create_dir_all(&out)?;
    generate(&api_folder(), &out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Someone changed a text and not the code, or the code by hand.
    #[test]
    fn generated_code_is_what_the_texts_say() {
        let out = tempfile::tempdir().unwrap();
        generate(&api_folder(), out.path()).unwrap();
        let mut compared = 0;
        for entry in fs::read_dir(out.path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap();
            let wanted = fs::read(&path).unwrap();
            let checked_in = fs::read(api_folder().join("src/generated").join(name)).unwrap();
            assert!(
                wanted == checked_in,
                "{}: run `cargo run -p api-codegen` and commit the result",
                name.display()
            );
            compared += 1;
        }
        assert_eq!(compared, 7, "one file for each package, and the descriptors");
    }
}
