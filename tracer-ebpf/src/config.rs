//! Load-time settings, constants to the verifier.

use tracer_common::config::Config;

// SAFETY: the name is this object's own; the loader finds the settings by it.
#[unsafe(no_mangle)]
pub(crate) static CONFIG: Config = Config::UNSET;

/// Reads one setting. Volatile, because the value is written into the object after it was compiled.
macro_rules! setting {
    ($field:ident) => {{
        // SAFETY: a field of a static that is always initialised, and read-only when programs run.
        unsafe { core::ptr::read_volatile(&raw const $crate::config::CONFIG.$field) }
    }};
}
pub(crate) use setting;
