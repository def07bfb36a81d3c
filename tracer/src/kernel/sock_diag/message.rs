//! The messages of `sock_diag(7)`: questions as bytes, and answers taken apart.

use rustix::io::Errno;
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Error;

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
/// `INET_DIAG_NOCOOKIE`, twice: whatever its cookie.
const NO_COOKIE: [u32; 2] = [u32::MAX; 2];

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
pub(in super::super) struct SocketId {
    pub(in super::super) local_port: U16,
    pub(in super::super) remote_port: U16,
    pub(in super::super) local_addr: [u8; 16],
    pub(in super::super) remote_addr: [u8; 16],
    pub(in super::super) interface: u32,
    pub(in super::super) cookie: [u32; 2],
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
pub(in super::super) struct Message {
    pub(in super::super) family: u8,
    pub(in super::super) state: u8,
    pub(in super::super) timer: u8,
    pub(in super::super) retransmits: u8,
    pub(in super::super) id: SocketId,
    pub(in super::super) expires_ms: u32,
    pub(in super::super) receive_queue: u32,
    pub(in super::super) send_queue: u32,
    pub(in super::super) uid: u32,
    pub(in super::super) inode: u32,
}

const _: () = {
    assert!(size_of::<Header>() == 16);
    assert!(size_of::<SocketId>() == 48);
    assert!(size_of::<Request>() == 56);
    assert!(size_of::<Attribute>() == 8);
    assert!(size_of::<Message>() == 72);
};

/// Lists what is in one of these states.
pub(super) fn request(sequence: u32, family: u8, protocol: u32, states: u32) -> Vec<u8> {
    let number = u8::try_from(protocol);
    let body = Request {
        family,
        protocol: number.unwrap_or(TCP_NUMBER),
        extensions: 0,
        reserved: 0,
        states,
        id: SocketId::default(),
    };
    let attribute = number.is_err().then_some(Attribute {
        length: 8,
        kind: ATTRIBUTE_PROTOCOL,
        value: protocol,
    });
    message(sequence, REQUEST | DUMP, &body, attribute)
}

/// Asks for one, whatever its cookie.
pub(super) fn question(sequence: u32, family: u8, id: SocketId) -> Vec<u8> {
    let body = Request {
        family,
        protocol: TCP_NUMBER,
        extensions: 0,
        reserved: 0,
        states: u32::MAX,
        id: SocketId {
            cookie: NO_COOKIE,
            ..id
        },
    };
    message(sequence, REQUEST, &body, None)
}

fn message(sequence: u32, flags: u16, body: &Request, attribute: Option<Attribute>) -> Vec<u8> {
    let mut bytes = vec![0; size_of::<Header>()];
    bytes.extend_from_slice(body.as_bytes());
    if let Some(attribute) = attribute {
        bytes.extend_from_slice(attribute.as_bytes());
    }
    let header = Header {
        length: u32::try_from(bytes.len()).unwrap_or_default(),
        kind: BY_FAMILY,
        flags,
        sequence,
        port: 0,
    };
    let _ = header.write_to_prefix(&mut bytes);
    bytes
}

/// What one reading of the answer held.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    More,
    Done,
}

/// For the field of eight bits where the attribute tells.
const TCP_NUMBER: u8 = 6;

/// Takes apart what one call read.
pub(super) fn messages(
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

    use super::super::{INET, INET6, MPTCP, TCP};
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
