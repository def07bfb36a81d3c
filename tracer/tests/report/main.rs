//! The report: what the page holds, and what it does in a browser.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says what it measured"
)]

mod browser;
mod content;
mod hands;
mod looks;
#[path = "../samples/mod.rs"]
#[expect(dead_code, reason = "the tests of other formats use the rest")]
mod samples;
mod story;
