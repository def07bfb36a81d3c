//! The library behind the `tracer` command.
//!
//! Data flows one way: [`kernel`] yields records, [`decode`] makes them [`event`]s, [`track`] turns
//! events into connections and transitions, [`render`] writes those; [`pipeline`] is the only loop.
//!
//! Architecture invariant: `decode`, `event`, `filter`, `state`, `track` and `render` know no clock,
//! socket, file or aya. Time comes in as an argument.

pub mod decode;
pub mod event;
pub mod filter;
pub mod kernel;
pub mod render;
pub mod session;
pub mod state;
pub mod track;
