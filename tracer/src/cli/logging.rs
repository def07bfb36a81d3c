//! Talk on stderr: `-v` for what tracer does, `-vv` for the kernel programs' log as well, `-vvv` for
//! how they are loaded.

use env_logger::{Builder, WriteStyle};
use log::LevelFilter;

/// Warnings of the kernel programs are always shown; those of aya only on request, since it warns of
/// things that are normal here (a memory limit that cannot be raised).
pub(super) fn init(verbose: u8) {
    let (all, aya) = match verbose {
        0 => (LevelFilter::Warn, LevelFilter::Error),
        1 => (LevelFilter::Info, LevelFilter::Warn),
        2 => (LevelFilter::Debug, LevelFilter::Warn),
        _ => (LevelFilter::Debug, LevelFilter::Debug),
    };
    let _ = Builder::new()
        .filter_level(all)
        .filter_module("aya", aya)
        .filter_module("aya_obj", aya)
        .format_timestamp(None)
        .write_style(WriteStyle::Never)
        .try_init();
}
