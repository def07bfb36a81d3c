//! One module for each hook.

pub(crate) mod accept;
pub(crate) mod evidence;
pub(crate) mod function;
pub(crate) mod state;
