//! What the other processes of a scenario do.

use std::io::{self, IoSliceMut, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use socket2::{Domain, SockAddr};

use crate::crowd;
use crate::stage;

/// Plays a role. The first argument is the actor's name.
pub(crate) fn play(role: &str, arguments: &[String]) -> Result<()> {
    let (name, arguments) = arguments.split_first().context("a role needs a name")?;
    stage::name_actor(name)?;
    match role {
        "answer" => stage::answer(TcpStream::from(inherited()?)),
        "answer-passed" => stage::answer(TcpStream::from(receive_descriptor()?)),
        "accept" => stage::answer(stage::accept(&TcpListener::from(inherited()?))?),
        "accept-and-wait" => accept_and_wait(&TcpListener::from(inherited()?)),
        "accept-passed" => stage::answer(stage::accept(&TcpListener::from(receive_descriptor()?))?),
        "listen-then-become-accept" => {
            let listener = OwnedFd::from(stage::listen(place(arguments)?)?);
            stage::become_actor(successor(arguments)?, "accept-once-ready", listener)
        }
        "accept-once-ready" => {
            ready();
            stage::answer(stage::accept(&TcpListener::from(inherited()?))?)
        }
        "accept-then-become-answer" => {
            let accepted = OwnedFd::from(stage::accept(&TcpListener::from(inherited()?))?);
            stage::become_actor(successor(arguments)?, "answer", accepted)
        }
        "reuseport" => reuseport(place(arguments)?),
        "connect" => connect_and_wait(place(arguments)?),
        "talk" => talk(arguments),
        "crowd" => crowd::run(arguments),
        other => bail!("no role {other}"),
    }
}

fn place(arguments: &[String]) -> Result<SocketAddr> {
    Ok(arguments.first().context("a role needs a place")?.parse()?)
}

/// Name of the actor that a process becomes: its last argument.
fn successor(arguments: &[String]) -> Result<&str> {
    Ok(arguments.last().context("a role needs a successor")?)
}

/// The socket that came as standard input.
fn inherited() -> Result<OwnedFd> {
    Ok(io::stdin().as_fd().try_clone_to_owned()?)
}

/// Accepts, then waits to be killed.
fn accept_and_wait(listener: &TcpListener) -> Result<()> {
    let mut stream = stage::accept(listener)?;
    ready();
    stream.read_exact(&mut [0])?;
    Ok(())
}

/// Receives a descriptor over the Unix socket that came as standard input.
fn receive_descriptor() -> Result<OwnedFd> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    rustix::net::recvmsg(
        io::stdin(),
        &mut [IoSliceMut::new(&mut [0])],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    control
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            RecvAncillaryMessage::ScmCredentials(_) | _ => None,
        })
        .context("no descriptor came")
}

/// Answers on a listener of its own that shares its port, until standard input ends.
fn reuseport(place: SocketAddr) -> Result<()> {
    let socket = stage::socket(Domain::for_address(place))?;
    socket.set_reuse_port(true)?;
    socket.bind(&SockAddr::from(place))?;
    socket.listen(16)?;
    ready();
    serve(&TcpListener::from(socket))
}

/// Answers until standard input ends.
fn serve(listener: &TcpListener) -> Result<()> {
    listener.set_nonblocking(true)?;
    let end = thread::spawn(|| io::copy(&mut io::stdin(), &mut io::sink()));
    // The end is looked for first: what is in the queue then is still answered.
    loop {
        let ended = end.is_finished();
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                stage::answer(stage::patient(stream)?)?;
            }
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error.into()),
            Err(_) if ended => return Ok(()),
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// When told to, does what the arguments say, one after the other: `user=NUMBER`, to become that user;
/// `listen=PLACE`; `meet=PLACE`, which
/// connects to a listener of its own and accepts; `ask=PLACE` of somebody else, with `from=PLACE`
/// before it to bind there. Then says that it is ready and answers on its first listener until
/// standard input ends.
fn talk(arguments: &[String]) -> Result<()> {
    io::stdin().read_line(&mut String::new())?;
    let mut listeners = Vec::new();
    let mut from = None;
    for argument in arguments {
        let (what, place) = argument.split_once('=').context("not WHAT=PLACE")?;
        if what == "user" {
            rustix::thread::set_thread_uid(rustix::fs::Uid::from_raw(place.parse()?))?;
            continue;
        }
        let place: SocketAddr = place.parse()?;
        match what {
            "listen" => listeners.push(stage::listen(place)?),
            "from" => from = Some(place),
            "meet" => {
                let client = stage::connect(place)?;
                let listener = listeners
                    .iter()
                    .find(|listener| {
                        listener
                            .local_addr()
                            .is_ok_and(|local| local.port() == place.port())
                    })
                    .context("it does not listen there")?;
                stage::close_in_order(client, stage::accept(listener)?)?;
            }
            "ask" => {
                let socket = stage::socket(Domain::for_address(place))?;
                if let Some(from) = from.take() {
                    socket.bind(&from.into())?;
                }
                socket.connect(&place.into())?;
                stage::ask(&mut stage::patient(socket.into())?)?;
            }
            other => bail!("it cannot {other}"),
        }
    }
    ready();
    match listeners.first() {
        Some(listener) => serve(listener),
        None => Ok(()),
    }
}

/// Connects, then waits to be killed.
fn connect_and_wait(place: SocketAddr) -> Result<()> {
    let _stream = stage::connect(place)?;
    ready();
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

#[expect(
    clippy::print_stdout,
    reason = "the process that started this one reads it"
)]
fn ready() {
    println!("ready");
}
