//! The BPF object: committed, so that users need no BPF toolchain, and provably built from the
//! sources beside it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::toolchain::Toolchain;

const OBJECT: &str = "tracer/ebpf/tracer.bpf.o";
const RECORD: &str = "tracer/ebpf/build.txt";
/// All that goes into the object, besides the compiler.
const SOURCES: [&str; 5] = [
    "tracer-common/Cargo.toml",
    "tracer-common/src",
    "tracer-ebpf/Cargo.lock",
    "tracer-ebpf/Cargo.toml",
    "tracer-ebpf/src",
];

/// How the committed object was built.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    toolchain: String,
    sources: String,
    object: String,
}

impl Record {
    fn to_text(&self) -> String {
        format!(
            "# Written by `cargo xtask build-ebpf`.\ntoolchain {}\nsources {}\nobject {}\n",
            self.toolchain, self.sources, self.object
        )
    }

    fn parse(text: &str) -> Result<Self> {
        let value = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
                .map(ToOwned::to_owned)
                .with_context(|| format!("{RECORD} has no line `{name}`"))
        };
        Ok(Self {
            toolchain: value("toolchain")?,
            sources: value("sources")?,
            object: value("object")?,
        })
    }
}

/// Builds the object and commits it to the working tree.
pub(crate) fn build() -> Result<()> {
    let root = root();
    let toolchain = Toolchain::find()?;
    eprintln!("building with {toolchain}");
    let built = fs::read(toolchain.build(&root.join("tracer-ebpf"), &root.join("target/bpf"))?)?;
    let record = Record {
        toolchain: toolchain.to_string(),
        sources: hash_sources(&root)?,
        object: hash(&built),
    };
    fs::write(root.join(OBJECT), &built)?;
    fs::write(root.join(RECORD), record.to_text())?;
    println!("{OBJECT}: {} bytes", built.len());
    Ok(())
}

/// Compares sources, object and record; then builds again, where that is possible, and compares bytes.
pub(crate) fn check(rebuild: bool) -> Result<()> {
    let root = root();
    let record = check_hashes(&root)?;
    println!("the object belongs to the sources, by hash");
    let toolchain = match Toolchain::find() {
        Ok(toolchain) => toolchain,
        Err(error) if rebuild => return Err(error),
        Err(error) => {
            println!("not built again: {error:#}");
            return Ok(());
        }
    };
    if toolchain.to_string() != record.toolchain {
        let message = format!(
            "the object was built with {}; here is {toolchain}, whose output may differ",
            record.toolchain
        );
        if rebuild {
            bail!("{message}\nhint: `cargo xtask build-ebpf`, and commit what it writes");
        }
        println!("not built again: {message}");
        return Ok(());
    }
    let built = fs::read(toolchain.build(&root.join("tracer-ebpf"), &root.join("target/bpf"))?)?;
    if hash(&built) != record.object {
        bail!("building the sources again gave another object\nhint: `cargo xtask build-ebpf`");
    }
    println!("built again with {toolchain}: the same bytes");
    Ok(())
}

fn check_hashes(root: &Path) -> Result<Record> {
    let record = Record::parse(
        &fs::read_to_string(root.join(RECORD)).with_context(|| format!("cannot read {RECORD}"))?,
    )?;
    let object = fs::read(root.join(OBJECT)).with_context(|| format!("cannot read {OBJECT}"))?;
    if hash(&object) != record.object {
        bail!("{OBJECT} is not the one that {RECORD} describes\nhint: `cargo xtask build-ebpf`");
    }
    if hash_sources(root)? != record.sources {
        bail!("the sources of {OBJECT} changed since it was built\nhint: `cargo xtask build-ebpf`");
    }
    Ok(record)
}

/// Folder of the repository.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

fn hash(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Hash over names and contents of all source files, in the order of their names.
fn hash_sources(root: &Path) -> Result<String> {
    let mut files = Vec::new();
    for source in SOURCES {
        list_files(&root.join(source), &mut files)?;
    }
    files.sort();
    let mut listing = String::new();
    for file in files {
        let name = file.strip_prefix(root)?.display().to_string();
        let content = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let _ = writeln!(listing, "{} {name}", hash(&content));
    }
    Ok(hash(listing.as_bytes()))
}

fn list_files(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))? {
        list_files(&entry?.path(), files)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_object_belongs_to_committed_sources() {
        check_hashes(&root()).unwrap();
    }

    #[test]
    fn record_survives_its_file() {
        let record = Record {
            toolchain: "rustc 1.2.3 with bpf-linker 4.5.6".into(),
            sources: "aa".into(),
            object: "bb".into(),
        };
        assert_eq!(Record::parse(&record.to_text()).unwrap(), record);
        assert!(Record::parse("toolchain x\n").is_err());
    }
}
