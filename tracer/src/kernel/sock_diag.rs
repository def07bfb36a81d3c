//! Asks the kernel for its sockets: `sock_diag(7)`, the way `ss` does it.
//!
//! A netlink socket stays in the network namespace it was made in, so one that was made in another
//! namespace asks about that one from anywhere.

mod message;

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};
use thiserror::Error;

use super::machine::mono_ns;
use super::netns;
pub(super) use message::{Message, SocketId};
use message::{Progress, messages, question, request};

/// `AF_INET`
pub(super) const INET: u8 = 2;
/// `AF_INET6`
pub(super) const INET6: u8 = 10;
/// `IPPROTO_TCP`
pub(super) const TCP: u32 = 6;
/// `IPPROTO_MPTCP`
pub(super) const MPTCP: u32 = 262;
/// `idiag_timer` of a mini-socket.
pub(super) const TIMER_MINI_SOCKET: u8 = 3;

/// More than the kernel fills at once (32 KiB).
const BUFFER: usize = 64 << 10;
/// The kernel answers from within the call; this is for one that does not.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why the kernel did not list its sockets.
#[derive(Debug, Error)]
pub(super) enum Error {
    /// A netlink socket could not be had.
    #[error("cannot ask sock_diag")]
    Socket(#[source] Errno),
    /// The kernel cannot list these sockets.
    #[error("this kernel has no sock_diag for them")]
    Unsupported,
    /// The kernel refused to.
    #[error("sock_diag refused")]
    Refused(#[source] Errno),
    /// What it answered makes no sense.
    #[error("sock_diag's answer cannot be understood")]
    Malformed,
    /// It took too long.
    #[error("it took too long")]
    Late,
}

impl Error {
    /// With its cause, for people.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Socket(errno) | Self::Refused(errno) => format!("{self}: {errno}"),
            Self::Unsupported | Self::Malformed | Self::Late => self.to_string(),
        }
    }
}

/// One of the sockets listed.
pub(super) struct Listed {
    pub(super) message: Message,
    /// `CLOCK_MONOTONIC`, nanoseconds: before the kernel looked at it.
    pub(super) asked_ns: u64,
    /// When it had.
    pub(super) seen_ns: u64,
}

/// A way to ask about the sockets of the network namespace it was opened in.
pub(super) struct SockDiag {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl SockDiag {
    /// For the network namespace of the calling thread.
    pub(super) fn open() -> Result<Self, Error> {
        let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
        let socket = socket_with(family, SocketType::DGRAM, flags, Some(SOCK_DIAG))
            .map_err(Error::Socket)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE)).map_err(Error::Socket)?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: vec![0; BUFFER],
        })
    }

    /// See [`netns::cookie`].
    pub(super) fn netns_cookie(&self) -> Option<u32> {
        netns::cookie(&self.socket)
    }

    /// Lists the sockets of a family and a protocol that are in one of the states (bits of kernel numbers).
    /// What was listed before an error is listed; late is what takes longer than until `is_over`.
    pub(super) fn list(
        &mut self,
        family: u8,
        protocol: u32,
        states: u32,
        is_over: impl Fn() -> bool,
        mut each: impl FnMut(Listed),
    ) -> Result<(), Error> {
        self.sequence += 1;
        // The kernel fills what a call reads within the call before, the first within this one.
        let mut asked_ns = mono_ns();
        self.send(&request(self.sequence, family, protocol, states))?;
        loop {
            let called_ns = mono_ns();
            let progress = self.receive(asked_ns, &mut each)?;
            if progress == Progress::Done {
                return Ok(());
            }
            if is_over() {
                return Err(Error::Late);
            }
            asked_ns = called_ns;
        }
    }

    /// Asks for the one TCP socket with these ends, full or not; where there is none, for a listener that
    /// would take a SYN for them.
    pub(super) fn get(&mut self, family: u8, id: SocketId) -> Result<Option<Listed>, Error> {
        self.sequence += 1;
        let asked_ns = mono_ns();
        self.send(&question(self.sequence, family, id))?;
        let mut found = None;
        while found.is_none() {
            match self.receive(asked_ns, &mut |listed| found = Some(listed)) {
                Ok(_) => {}
                Err(Error::Unsupported) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn send(&self, message: &[u8]) -> Result<(), Error> {
        let to = SocketAddrNetlink::new(0, 0);
        sendto(&self.socket, message, SendFlags::empty(), &to).map_err(Error::Socket)?;
        Ok(())
    }

    /// Reads one part of an answer.
    fn receive(&mut self, asked_ns: u64, each: &mut dyn FnMut(Listed)) -> Result<Progress, Error> {
        let length = loop {
            match recv(
                self.socket.as_fd(),
                self.buffer.as_mut_slice(),
                RecvFlags::TRUNC,
            ) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(Error::Late),
                Err(errno) => return Err(Error::Socket(errno)),
                Ok((_, length)) => break length,
            }
        };
        let seen_ns = mono_ns();
        let bytes = self.buffer.get(..length).ok_or(Error::Malformed)?;
        messages(bytes, self.sequence, |message| {
            each(Listed {
                message,
                asked_ns,
                seen_ns,
            });
        })
    }
}

/// A kernel's address as records have it: of IPv4, twelve bytes are unused.
pub(super) fn mapped(family: u8, addr: [u8; 16]) -> [u8; 16] {
    let [a, b, c, d, ..] = addr;
    match family {
        INET => [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d],
        _ => addr,
    }
}

/// The other way round: the family to ask for, and the address as it wants it.
pub(super) fn unmapped(addr: [u8; 16]) -> (u8, [u8; 16]) {
    match addr {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => {
            (INET, [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        }
        _ => (INET6, addr),
    }
}
