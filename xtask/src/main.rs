//! Chores of the repository: `cargo xtask --help`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool of the developers"
)]

mod bench;
mod ebpf;
mod setup;
mod toolchain;
mod vm;

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
    Setup {
        /// Install what `vm` needs instead
        #[arg(long)]
        vm: bool,
        /// Install what reads the exports in the tests instead, into target/readers (as any user)
        #[arg(long, conflicts_with = "vm")]
        readers: bool,
    },
    /// Compile the kernel programs and put the object where the tracer embeds it
    BuildEbpf,
    /// Prove that the committed object was built from the committed sources
    CheckEbpf {
        /// Fail where the object cannot be built again to compare it
        #[arg(long)]
        rebuild: bool,
    },
    /// Test tracer on other kernels, in virtual machines
    Vm(vm::VmArgs),
    /// Measure what tracing costs, beside other tracers; needs root
    Bench(bench::BenchArgs),
    /// Make many short connections on loopback
    #[command(hide = true)]
    Storm(bench::storm::StormArgs),
    /// In a virtual machine: make connections and compare what tracer and the kernel say of them
    #[command(hide = true)]
    GuestStorm {
        /// For `tracer --hook`
        hook: String,
    },
}

fn main() -> anyhow::Result<()> {
    if std::env::args_os().eq([vm::guest::INIT]) {
        vm::guest::main();
    }
    match Cli::parse().chore {
        Chore::Setup { readers: true, .. } => setup::readers(&ebpf::root()),
        Chore::Setup { vm: true, .. } => setup::vm(),
        Chore::Setup { .. } => setup::run(),
        Chore::BuildEbpf => ebpf::build(),
        Chore::CheckEbpf { rebuild } => ebpf::check(rebuild),
        Chore::Vm(arguments) => vm::run(&arguments, &ebpf::root()),
        Chore::Bench(arguments) => bench::run(&arguments, &ebpf::root()),
        Chore::Storm(arguments) => bench::storm::main(&arguments),
        Chore::GuestStorm { hook } => vm::storm::main(&hook),
    }
}
