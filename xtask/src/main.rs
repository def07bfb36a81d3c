//! Chores of the repository: `cargo xtask --help`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool of the developers"
)]

mod ebpf;
mod setup;
mod toolchain;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the tracer repository")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install what `build-ebpf` needs (Debian and Ubuntu, as root)
    Setup,
    /// Compile the kernel programs and put the object where the tracer embeds it
    BuildEbpf,
    /// Prove that the committed object was built from the committed sources
    CheckEbpf {
        /// Fail where the object cannot be built again to compare it
        #[arg(long)]
        rebuild: bool,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().chore {
        Chore::Setup => setup::run(),
        Chore::BuildEbpf => ebpf::build(),
        Chore::CheckEbpf { rebuild } => ebpf::check(rebuild),
    }
}
