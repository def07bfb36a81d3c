//! What the kernel programs and the userspace binary agree on.
//!
//! Both sides are compiled from this crate, so that a layout cannot drift apart: the records that
//! cross the ring buffer ([`wire`]), the settings written before the programs are loaded
//! ([`config`]) and the names by which the loader finds programs and maps ([`names`]).

#![no_std]

pub mod config;
pub mod names;
pub mod select;
pub mod wire;
