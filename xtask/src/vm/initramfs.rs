//! The guest's file system: a cpio archive in the format `newc`
//! (`Documentation/driver-api/early-userspace/buffer-format.rst`), not compressed: an emulated processor
//! would take longer to unpack it than to read it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::process::filter;

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// An archive in the making.
#[derive(Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    names: HashSet<String>,
}

impl Archive {
    pub(super) fn folder(&mut self, name: &str) -> Result<()> {
        self.entry(name, FOLDER, &[])
    }

    pub(super) fn file(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.entry(name, PROGRAM, content)
    }

    /// A file, after those folders on the way to it that are not there yet. A second one of the same name
    /// is left out.
    pub(super) fn file_with_folders(&mut self, name: &str, content: &[u8]) -> Result<()> {
        for (end, _) in name.match_indices('/') {
            let (folder, _) = name.split_at(end);
            if !self.names.contains(folder) {
                self.folder(folder)?;
            }
        }
        if self.names.contains(name) {
            return Ok(());
        }
        self.file(name, content)
    }

    pub(super) fn finish(mut self) -> Result<Vec<u8>> {
        self.entry("TRAILER!!!", 0, &[])?;
        Ok(self.bytes)
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.entries += 1;
        self.names.insert(name.to_owned());
        let size = u32::try_from(content.len()).context("a file of more than 4 GiB")?;
        let name_size = u32::try_from(name.len() + 1)?;
        self.bytes.extend_from_slice(b"070701");
        // Inode, mode, user, group, links, time, size, device (4), size of the name, check.
        for number in [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ] {
            self.bytes
                .extend_from_slice(format!("{number:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// Contents of kernel modules, each after those it depends on. Names that the kernel does not have as
/// modules are left out: they are built in, or the test that needs them says so.
pub(super) fn modules(folder: &Path, wanted: &[&str]) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = HashMap::new();
    list(folder, &mut files)?;
    let mut loaded = Vec::new();
    for name in wanted {
        add(name, &files, &mut loaded)?;
    }
    Ok(loaded)
}

fn add(
    name: &str,
    files: &HashMap<String, PathBuf>,
    loaded: &mut Vec<(String, Vec<u8>)>,
) -> Result<()> {
    let Some(file) = files.get(name) else {
        return Ok(());
    };
    if loaded.iter().any(|(there, _)| there == name) {
        return Ok(());
    }
    let mut content = fs::read(file)?;
    if file.extension().is_some_and(|kind| kind == "xz") {
        content = filter(Command::new("xz").arg("-dc"), &content)?;
    }
    for dependency in dependencies(&content) {
        add(&dependency, files, loaded)?;
    }
    loaded.push((name.to_owned(), content));
    Ok(())
}

/// From the text `depends=a,b` that the build puts into every module.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = module.windows(KEY.len()).position(|bytes| bytes == KEY) else {
        return Vec::new();
    };
    let rest = module.get(start + KEY.len()..).unwrap_or_default();
    let value = rest.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(module_name)
        .collect()
}

/// The kernel takes `-` and `_` for the same.
fn module_name(text: &str) -> String {
    text.replace('-', "_")
}

fn list(folder: &Path, files: &mut HashMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            list(&entry.path(), files)?;
        } else if let Some((name, "ko" | "ko.xz")) =
            entry.file_name().to_string_lossy().split_once('.')
        {
            files.insert(module_name(name), entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newc() {
        let mut archive = Archive::default();
        archive.folder("bin").unwrap();
        archive.file("init", b"hello").unwrap();
        let bytes = archive.finish().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (folder, rest) = text.split_at(116);
        assert_eq!(
            folder,
            "070701000000010000 41ed000000000000000000000001000000000000000000000000000000000000\
             0000000000000000000400000000bin\0\0\0"
                .replace(' ', "")
        );
        assert!(rest.starts_with("07070100000002000081ed"));
        assert!(
            rest[110..].starts_with("init\0\0hello\0\0\x00070701"),
            "{rest:?}"
        );
        assert_eq!(text.len() % 4, 0);
    }

    #[test]
    fn dependencies_of_a_module() {
        let module = b"x\0license=GPL\0depends=nf_tables,lib-crc32c\0name=y\0";
        assert_eq!(dependencies(module), ["nf_tables", "lib_crc32c"]);
        assert!(dependencies(b"\0depends=\0").is_empty());
        assert!(dependencies(b"").is_empty());
    }
}
