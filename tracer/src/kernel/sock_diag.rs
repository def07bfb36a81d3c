//! Asks the kernel for its sockets: `sock_diag(7)`, the way `ss` does it.
//!
//! A netlink socket stays in the network namespace it was made in, so one that was made in another
//! namespace asks about that one from anywhere.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};
use thiserror::Error;
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::machine::mono_ns;

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

/// `NLMSG_ERROR`
const ERROR: u16 = 2;
/// `NLMSG_DONE`
const DONE: u16 = 3;
/// `SOCK_DIAG_BY_FAMILY`
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST`
const REQUEST: u16 = 1;
/// `NLM_F_DUMP`
const DUMP: u16 = 0x300;
/// `INET_DIAG_REQ_PROTOCOL`, for protocol numbers above 255; Linux 5.9 or later.
const ATTRIBUTE_PROTOCOL: u16 = 3;
/// The kernel's own bound on error numbers.
const MAX_ERRNO: i32 = 4095;
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

/// `struct nlmsghdr`
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
struct Header {
    length: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
}

/// `struct inet_diag_sockid`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub(super) struct SocketId {
    pub(super) local_port: U16,
    pub(super) remote_port: U16,
    pub(super) local_addr: [u8; 16],
    pub(super) remote_addr: [u8; 16],
    pub(super) interface: u32,
    pub(super) cookie: [u32; 2],
}

/// `struct inet_diag_req_v2`
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
struct Request {
    family: u8,
    protocol: u8,
    extensions: u8,
    reserved: u8,
    states: u32,
    id: SocketId,
}

/// `struct nlattr` with a 32-bit value.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
struct Attribute {
    length: u16,
    kind: u16,
    value: u32,
}

/// `struct inet_diag_msg`: a socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub(super) struct Message {
    pub(super) family: u8,
    pub(super) state: u8,
    pub(super) timer: u8,
    pub(super) retransmits: u8,
    pub(super) id: SocketId,
    pub(super) expires_ms: u32,
    pub(super) receive_queue: u32,
    pub(super) send_queue: u32,
    pub(super) uid: u32,
    pub(super) inode: u32,
}

const _: () = {
    assert!(size_of::<Header>() == 16);
    assert!(size_of::<SocketId>() == 48);
    assert!(size_of::<Request>() == 56);
    assert!(size_of::<Attribute>() == 8);
    assert!(size_of::<Message>() == 72);
};

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

/// What one reading of the answer held.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    More,
    Done,
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

    /// Lists the sockets of a family and a protocol that are in one of the states (bits of kernel numbers).
    /// What was listed before an error is listed.
    pub(super) fn list(
        &mut self,
        family: u8,
        protocol: u32,
        states: u32,
        deadline: Instant,
        mut each: impl FnMut(Listed),
    ) -> Result<(), Error> {
        self.sequence += 1;
        let request = request(self.sequence, family, protocol, states);
        // The kernel fills what a call reads within the call before, the first within this one.
        let mut asked_ns = mono_ns();
        let to = SocketAddrNetlink::new(0, 0);
        sendto(&self.socket, &request, SendFlags::empty(), &to).map_err(Error::Socket)?;
        loop {
            let called_ns = mono_ns();
            let (_, length) = match recv(
                self.socket.as_fd(),
                self.buffer.as_mut_slice(),
                RecvFlags::TRUNC,
            ) {
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Err(Error::Late),
                Err(errno) => return Err(Error::Socket(errno)),
                Ok(lengths) => lengths,
            };
            let seen_ns = mono_ns();
            let bytes = self.buffer.get(..length).ok_or(Error::Malformed)?;
            let progress = messages(bytes, self.sequence, |message| {
                each(Listed {
                    message,
                    asked_ns,
                    seen_ns,
                });
            })?;
            if progress == Progress::Done {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::Late);
            }
            asked_ns = called_ns;
        }
    }
}

fn request(sequence: u32, family: u8, protocol: u32, states: u32) -> Vec<u8> {
    let number = u8::try_from(protocol);
    let body = Request {
        family,
        protocol: number.unwrap_or(TCP_NUMBER),
        extensions: 0,
        reserved: 0,
        states,
        id: SocketId::default(),
    };
    let mut bytes = vec![0; size_of::<Header>()];
    bytes.extend_from_slice(body.as_bytes());
    if number.is_err() {
        let attribute = Attribute {
            length: 8,
            kind: ATTRIBUTE_PROTOCOL,
            value: protocol,
        };
        bytes.extend_from_slice(attribute.as_bytes());
    }
    let header = Header {
        length: u32::try_from(bytes.len()).unwrap_or_default(),
        kind: BY_FAMILY,
        flags: REQUEST | DUMP,
        sequence,
        port: 0,
    };
    let _ = header.write_to_prefix(&mut bytes);
    bytes
}

/// For the field of eight bits where the attribute tells.
const TCP_NUMBER: u8 = 6;

/// Takes apart what one call read.
fn messages(
    mut bytes: &[u8],
    sequence: u32,
    mut each: impl FnMut(Message),
) -> Result<Progress, Error> {
    while !bytes.is_empty() {
        let (header, _) = Header::read_from_prefix(bytes).map_err(|_| Error::Malformed)?;
        let length = usize::try_from(header.length).unwrap_or(usize::MAX);
        let body = bytes
            .get(size_of::<Header>()..length)
            .ok_or(Error::Malformed)?;
        if header.sequence == sequence {
            match header.kind {
                ERROR | DONE => {
                    // A negative errno; without one, of a kernel that has nothing to add, none.
                    let code = i32::read_from_prefix(body).map_or(0, |(code, _)| code);
                    if code == 0 && header.kind == DONE {
                        return Ok(Progress::Done);
                    }
                    if !(-MAX_ERRNO..0).contains(&code) {
                        return Err(Error::Malformed);
                    }
                    return match Errno::from_raw_os_error(-code) {
                        Errno::NOENT | Errno::OPNOTSUPP | Errno::INVAL => Err(Error::Unsupported),
                        errno => Err(Error::Refused(errno)),
                    };
                }
                BY_FAMILY => {
                    let (message, _) =
                        Message::read_from_prefix(body).map_err(|_| Error::Malformed)?;
                    each(message);
                }
                _ => {}
            }
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Progress::More)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let header = Header {
            length: u32::try_from(size_of::<Header>() + body.len()).unwrap(),
            kind,
            flags: 0,
            sequence,
            port: 0,
        };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn parse(bytes: &[u8]) -> (Result<Progress, String>, Vec<u16>) {
        let mut ports = Vec::new();
        let progress = messages(bytes, 7, |message| ports.push(message.id.local_port.get()));
        (progress.map_err(|error| error.reason()), ports)
    }

    /// With the attributes that may follow.
    fn socket(port: u16) -> Vec<u8> {
        let mut bytes = vec![0; size_of::<Message>() + 5];
        bytes[4..6].copy_from_slice(&port.to_be_bytes());
        bytes
    }

    #[test]
    fn sockets_of_this_question_are_taken() {
        let mut bytes = message(BY_FAMILY, 7, &socket(80));
        bytes.extend(message(BY_FAMILY, 6, &socket(81)));
        bytes.extend(message(BY_FAMILY, 7, &socket(82)));
        assert_eq!(parse(&bytes), (Ok(Progress::More), vec![80, 82]));
        bytes.extend(message(DONE, 7, &0i32.to_ne_bytes()));
        assert_eq!(parse(&bytes), (Ok(Progress::Done), vec![80, 82]));
    }

    #[test]
    fn errors_have_a_reason() {
        for (kind, code, reason) in [
            (ERROR, -2, "this kernel has no sock_diag for them"),
            (ERROR, -22, "this kernel has no sock_diag for them"),
            (
                DONE,
                -1,
                "sock_diag refused: Operation not permitted (os error 1)",
            ),
            (ERROR, 0, "sock_diag's answer cannot be understood"),
        ] {
            let code: i32 = code;
            let bytes = message(kind, 7, &code.to_ne_bytes());
            assert_eq!(parse(&bytes).0, Err(reason.to_owned()), "{code}");
        }
        let cut = &message(BY_FAMILY, 7, &socket(80))[..80];
        assert_eq!(
            parse(cut).0,
            Err("sock_diag's answer cannot be understood".to_owned())
        );
    }

    #[test]
    fn a_request_is_as_the_kernel_wants_it() {
        let tcp = request(3, INET, TCP, 2);
        assert_eq!((tcp.len(), tcp[0], tcp[17]), (72, 72, 6));
        let mptcp = request(3, INET6, MPTCP, 2);
        assert_eq!((mptcp.len(), mptcp[0], mptcp[16]), (80, 80, INET6));
        assert_eq!(mptcp[74..76], 3u16.to_ne_bytes());
        assert_eq!(mptcp[76..], 262u32.to_ne_bytes());
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_apart_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_lengths_are_taken_apart_or_refused(length: u32, kind in 0u16..25, tail in 0usize..200) {
            let mut bytes = message(kind, 7, &vec![0; tail]);
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            let _ = parse(&bytes);
        }
    }
}
