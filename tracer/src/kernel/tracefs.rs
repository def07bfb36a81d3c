//! The kernel's tracing file system: found, or mounted where it belongs.

use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, mount};

use super::format::Format;

/// Where it belongs, then where old systems have it.
const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// A mounted tracefs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceFs {
    /// Mount point.
    pub path: PathBuf,
    /// It was not mounted before.
    pub mounted_by_us: bool,
}

/// Finds tracefs, or mounts it. The error says what to do.
pub fn find_or_mount() -> Result<TraceFs, String> {
    for place in PLACES {
        match std::fs::metadata(Path::new(place).join("events/sock")) {
            Ok(_) => {
                return Ok(TraceFs {
                    path: place.into(),
                    mounted_by_us: false,
                });
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(format!("no access to {place}: run as root"));
            }
            Err(_) => {}
        }
    }
    let [place, _] = PLACES;
    match mount("tracefs", place, "tracefs", MountFlags::empty(), None) {
        Ok(()) => Ok(TraceFs {
            path: place.into(),
            mounted_by_us: true,
        }),
        Err(error) => Err(format!(
            "tracefs is not mounted and could not be ({error}); \
             mount it with `mount -t tracefs tracefs {place}`"
        )),
    }
}

impl TraceFs {
    /// For people.
    pub fn describe(&self) -> String {
        let how = if self.mounted_by_us {
            " (tracer mounted it)"
        } else {
            ""
        };
        format!("mounted at {}{how}", self.path.display())
    }

    /// Reads the `format` file of a tracepoint. The error says what is missing.
    pub fn format(&self, group: &str, name: &str) -> Result<Format, String> {
        let path = self
            .path
            .join("events")
            .join(group)
            .join(name)
            .join("format");
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Format::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(format!("this kernel has no tracepoint {group}:{name}"))
            }
            Err(error) => Err(format!("cannot read {}: {error}", path.display())),
        }
    }
}
