//! The library behind the `tracer` command.
//!
//! Data flows one way: [`kernel`] yields records, [`decode`] makes them [`event`]s, [`track`] turns
//! events into connections and transitions, [`render`] writes those, [`output`] sends them out;
//! [`flow`] ties the middle together and [`pipeline`] is the only loop.
//!
//! Architecture invariant: `decode`, `event`, `filter`, `flow`, `hints`, `place`, `render`, `session`, `state`,
//! `stats` and `track` know no clock, socket, file or aya. Time comes in as an argument.

pub mod batch;
pub mod cli;
pub mod decode;
pub mod diagnose;
pub mod enrich;
pub mod event;
pub mod filter;
pub mod flow;
pub mod hints;
pub mod input;
pub mod kernel;
pub mod output;
pub mod pipeline;
pub mod place;
pub mod record;
pub mod render;
pub mod session;
pub mod state;
pub mod stats;
pub mod track;
