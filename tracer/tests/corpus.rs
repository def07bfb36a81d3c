//! The fuzz targets on their corpus, without a fuzzer: what once went wrong, and what goes everywhere.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is a library of its own")]
mod targets;

use tracer::batch::Batch;
use tracer::record::frame::{HEAD, Head, Kind, Opener};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn run_all(target: &str, run: fn(&[u8])) {
    let entries = std::fs::read_dir(fuzz().join("corpus").join(target)).unwrap();
    let paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    assert!(paths.len() > 20, "{} files of {target}", paths.len());
    for path in paths {
        let bytes = std::fs::read(&path).unwrap();
        let ran = std::panic::catch_unwind(|| run(&bytes));
        assert!(ran.is_ok(), "{}", path.display());
    }
}

#[test]
fn recording() {
    run_all("recording", targets::recording);
}

#[test]
fn records() {
    run_all("records", targets::records);
}

/// Makes the first corpus out of the sample recordings.
#[test]
#[ignore = "writes to fuzz/corpus"]
fn seeds() {
    let corpus = fuzz().join("corpus");
    let put = |target: &str, name: &str, bytes: &[u8]| {
        std::fs::create_dir_all(corpus.join(target)).unwrap();
        std::fs::write(corpus.join(target).join(name), bytes).unwrap();
    };
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/format-1");
    for name in ["rotated.000001", "rotated.000003"] {
        let bytes = std::fs::read(samples.join(format!("{name}.tracer"))).unwrap();
        put("recording", name, &bytes);
        put("recording", &format!("{name}.plain"), &uncompressed(&bytes));
    }
    let bytes = std::fs::read(samples.join("outcomes.tracer")).unwrap();
    for (number, rows) in blocks(&bytes).iter().enumerate() {
        let mut inputs = Vec::new();
        for row in rows.iter().take(60) {
            let length = u16::try_from(row.len()).unwrap();
            inputs.extend(length.to_le_bytes());
            inputs.extend(row);
        }
        for output in 0..16u8 {
            let head = [output, u8::try_from(number * 37 % 256).unwrap()];
            put(
                "records",
                &format!("{number}.{output}"),
                &[&head[..], &inputs].concat(),
            );
        }
    }
}

/// The frames of a file, with their payloads.
fn frames(mut bytes: &[u8]) -> Vec<(Head, &[u8])> {
    let mut frames = Vec::new();
    while let Some(head) = bytes.first_chunk().and_then(Head::parse) {
        let (frame, rest) = bytes.split_at(HEAD + head.stored as usize);
        frames.push((head, &frame[HEAD..]));
        bytes = rest;
    }
    frames
}

fn blocks(bytes: &[u8]) -> Vec<Batch> {
    let mut opener = Opener::new().unwrap();
    let blocks = frames(bytes)
        .into_iter()
        .filter(|(head, _)| head.kind == Kind::Block);
    blocks
        .map(|(head, payload)| {
            let mut rows = Batch::default();
            opener.rows(&head, payload, &mut rows).unwrap();
            rows
        })
        .collect()
}

/// The same file with nothing compressed, so that a changed byte reaches further.
fn uncompressed(bytes: &[u8]) -> Vec<u8> {
    let mut opener = Opener::new().unwrap();
    let mut plain = Vec::new();
    for (head, payload) in frames(bytes) {
        let payload = opener.plain(&head, payload).unwrap();
        let mut head = head.to_bytes();
        head[9] = 0;
        head[12..16].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        plain.extend(head);
        plain.extend(payload);
    }
    targets::mended(&plain)
}
