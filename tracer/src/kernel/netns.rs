//! The network namespaces of this machine, and how to get into one.
//!
//! The kernel has no list of them: one is found through the processes that live in it or hold a descriptor
//! of it, and the places that keep one by a mount. Known gap: one in which nothing lives but a thread of a
//! process in another.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::linux::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::libc;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::GetStruct;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where `ip netns` and Docker keep namespaces.
const PLACES: [&str; 3] = ["/run/netns", "/var/run/netns", "/run/docker/netns"];
/// File system of namespaces (`include/uapi/linux/magic.h`).
const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;

/// Since Linux 5.14.
#[derive(Clone, Copy)]
struct NetnsCookie;

nix::getsockopt_impl!(
    NetnsCookie,
    libc::SOL_SOCKET,
    libc::SO_NETNS_COOKIE,
    u64,
    GetStruct<u64>
);

/// Inode number of the calling thread's own.
pub(super) fn own() -> Option<u32> {
    inode(Path::new("/proc/thread-self/ns/net")).ok()
}

/// Those that are kept by a mount, whoever may be in them: inode number and path.
pub(super) fn mounted() -> impl Iterator<Item = (u32, PathBuf)> {
    let entries = PLACES.iter().flat_map(fs::read_dir).flatten().flatten();
    entries.filter_map(|entry| {
        let path = entry.path();
        let is_one = rustix::fs::statfs(&path).is_ok_and(|system| system.f_type == NSFS_MAGIC);
        Some((is_one.then(|| inode(&path).ok())??, path))
    })
}

/// Runs `inside` in a namespace, on a thread of its own that ends with it.
pub(super) fn enter<T: Send>(
    expected: u32,
    ways: &[PathBuf],
    inside: impl FnOnce() -> T + Send,
) -> Result<T, io::Error> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    let open = ways.iter().find_map(|way| match fs::File::open(way) {
        Ok(file)
            if file
                .metadata()
                .is_ok_and(|is| is.st_ino() == u64::from(expected)) =>
        {
            Some(file)
        }
        // The process is another one by now.
        Ok(_) => None,
        Err(error) => {
            last = error;
            None
        }
    });
    let Some(file) = open else { return Err(last) };
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(inside())
        });
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread in it failed")))
    })
}

/// The lower half of the cookie of a socket's namespace: no two namespaces have the same, while an inode number
/// goes to the next one as soon as one is gone.
pub(super) fn cookie(socket: &impl AsFd) -> Option<u32> {
    let cookie = getsockopt(socket, NetnsCookie).ok()?;
    u32::try_from(cookie & u64::from(u32::MAX)).ok()
}

fn inode(path: &Path) -> io::Result<u32> {
    let inode = fs::metadata(path)?.st_ino();
    u32::try_from(inode).map_err(io::Error::other)
}
