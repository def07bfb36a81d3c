//! Packets of a network namespace as they pass its interfaces, with the kernel's times: an `AF_PACKET` socket
//! of the test's own, as tcpdump has one.

use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeSpec, TimeVal};

use crate::netns::{NOBODY, Namespace};

/// A TCP segment over IPv4.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    /// When it passed the interface: `CLOCK_REALTIME`, nanoseconds.
    pub(crate) wall_ns: i64,
    pub(crate) from: SocketAddrV4,
    pub(crate) to: SocketAddrV4,
    flags: u8,
    sequence: u32,
    acknowledged: u32,
    payload_bytes: u32,
}

impl Packet {
    pub(crate) fn is_syn(&self) -> bool {
        self.flags & 0x02 != 0
    }

    pub(crate) fn is_fin(&self) -> bool {
        self.flags & 0x01 != 0
    }

    pub(crate) fn is_ack(&self) -> bool {
        self.flags & 0x10 != 0
    }

    /// Whether it acknowledges all of `other`, SYN and FIN included.
    pub(crate) fn acknowledges(&self, other: &Self) -> bool {
        let flags = u32::from(other.is_syn()) + u32::from(other.is_fin());
        let end = other
            .sequence
            .wrapping_add(other.payload_bytes)
            .wrapping_add(flags);
        let ahead = self.acknowledged.wrapping_sub(end);
        (self.from, self.to) == (other.to, other.from) && self.is_ack() && ahead < 1 << 31
    }

    /// Of an Ethernet frame; nothing if it holds something else, or is for nobody.
    fn parse(wall_ns: i64, frame: &[u8]) -> Option<Self> {
        const IPV4: [u8; 2] = [0x08, 0x00];
        const TCP: u8 = 6;
        let (ethernet, ip) = frame.split_at_checked(14)?;
        if ethernet.get(12..14)? != IPV4 || *ip.get(9)? != TCP || ethernet.get(..6)? == NOBODY {
            return None;
        }
        let number = |bytes: &[u8], at: usize| -> Option<u32> {
            Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
        };
        let short = |bytes: &[u8], at: usize| -> Option<u16> {
            Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
        };
        let header_bytes = |byte: u8| usize::from(byte) * 4;
        let ip_bytes = header_bytes(*ip.first()? & 0x0f);
        let tcp = ip.get(ip_bytes..)?;
        let tcp_bytes = header_bytes(*tcp.get(12)? >> 4);
        let end = |at: usize, port: usize| -> Option<SocketAddrV4> {
            Some(SocketAddrV4::new(
                Ipv4Addr::from(number(ip, at)?),
                short(tcp, port)?,
            ))
        };
        let payload = usize::from(short(ip, 2)?).checked_sub(ip_bytes + tcp_bytes)?;
        Some(Self {
            wall_ns,
            from: end(12, 0)?,
            to: end(16, 2)?,
            flags: *tcp.get(13)?,
            sequence: number(tcp, 4)?,
            acknowledged: number(tcp, 8)?,
            payload_bytes: u32::try_from(payload).ok()?,
        })
    }
}

/// A capture under way; ended when dropped.
pub(crate) struct Capture {
    ended: Arc<AtomicBool>,
    reader: Option<JoinHandle<Result<Vec<Packet>>>>,
}

impl Capture {
    /// Starts to capture what passes the interfaces of a namespace, in and out.
    pub(crate) fn start(namespace: &Namespace) -> Result<Self> {
        // Made there, a socket stays there.
        let socket = namespace.run(|| {
            let socket = socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::EthAll,
            )?;
            setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
            setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 20_000))?;
            Ok(socket)
        });
        let socket = socket.context("cannot capture packets")?;
        let ended = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ended);
        let reader = thread::spawn(move || read(&socket, &until));
        Ok(Self {
            ended,
            reader: Some(reader),
        })
    }

    /// Ends the capture. What had passed until now is in it.
    pub(crate) fn finish(mut self) -> Result<Vec<Packet>> {
        self.ended.store(true, Ordering::Relaxed);
        let reader = self.reader.take().context("ended twice")?;
        reader
            .join()
            .map_err(|_| anyhow!("the capturing thread panicked"))?
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// Reads until there is nothing more to read after `ended`.
fn read(socket: &OwnedFd, ended: &AtomicBool) -> Result<Vec<Packet>> {
    const LARGEST_FRAME: usize = 1 << 16;
    let mut packets = Vec::new();
    let mut frame = vec![0; LARGEST_FRAME];
    let mut control = nix::cmsg_space!(TimeSpec);
    loop {
        let was_ended = ended.load(Ordering::Relaxed);
        let mut places = [IoSliceMut::new(&mut frame)];
        let received = recvmsg::<()>(
            socket.as_raw_fd(),
            &mut places,
            Some(&mut control),
            MsgFlags::empty(),
        );
        let (filled, time) = match received {
            Ok(message) => {
                let time = message.cmsgs()?.find_map(|message| {
                    if let ControlMessageOwned::ScmTimestampns(time) = message {
                        Some(time)
                    } else {
                        None
                    }
                });
                (message.bytes, time.context("a packet without a time")?)
            }
            Err(Errno::EAGAIN) if was_ended => return Ok(packets),
            Err(Errno::EAGAIN | Errno::EINTR) => continue,
            Err(error) => bail!("cannot read packets: {error}"),
        };
        ensure!(filled <= LARGEST_FRAME, "a packet that is cut off");
        let wall_ns = time.tv_sec() * 1_000_000_000 + time.tv_nsec();
        packets.extend(Packet::parse(
            wall_ns,
            frame.get(..filled).unwrap_or_default(),
        ));
    }
}
