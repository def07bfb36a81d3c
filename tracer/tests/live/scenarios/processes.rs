//! Sockets that more than one process has to do with.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use anyhow::Result;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::{
    CLIENT_FIRST, CLIENT_RESET, CLIENT_RESET_STATES, CLIENT_SECOND, Expected, LISTENER,
    RESET_UNREAD, SERVER_FIRST, SERVER_SECOND, SERVER_WAS_RESET, Scenario,
};
use crate::stage::{self, Actor, Stage};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "accepted_then_inherited",
        play: accepted_then_inherited,
        sockets: &[LISTENER, CLIENT_ASKED, SERVER_ASKED],
    },
    Scenario {
        name: "accepted_then_passed_on",
        play: accepted_then_passed_on,
        sockets: &[LISTENER, CLIENT_ASKED, SERVER_ASKED],
    },
    Scenario {
        name: "accepted_by_a_thread",
        play: accepted_by_a_thread,
        sockets: &[LISTENER, CLIENT_ASKED, SERVER_ASKED],
    },
    Scenario {
        name: "named_threads",
        play: named_threads,
        sockets: &[LISTENER, CLIENT_ASKED, SERVER_ASKED],
    },
    Scenario {
        name: "connected_then_passed_on",
        play: connected_then_passed_on,
        sockets: &[
            LISTENER,
            CLIENT_SECOND.bytes(8, 8),
            SERVER_FIRST.bytes(8, 8),
        ],
    },
    Scenario {
        name: "listener_passed_on",
        play: listener_passed_on,
        sockets: &[
            LISTENER,
            CLIENT_ASKED,
            SERVER_ASKED.owned("listener:main accept:child"),
        ],
    },
    Scenario {
        name: "exec_between_listen_and_accept",
        play: exec_between_listen_and_accept,
        sockets: &[
            LISTENER.owned("listen:before"),
            CLIENT_ASKED,
            SERVER_ASKED.owned("listener:before accept:after"),
        ],
    },
    Scenario {
        name: "exec_after_accept",
        play: exec_after_accept,
        sockets: &[
            LISTENER,
            CLIENT_ASKED,
            SERVER_ASKED.owned("listener:main accept:before"),
        ],
    },
    Scenario {
        name: "shared_listener",
        play: shared_listener,
        sockets: &[
            LISTENER,
            CLIENT_ASKED.times(2),
            SERVER_ASKED.owned("listener:main accept:one"),
            SERVER_ASKED.owned("listener:main accept:two"),
        ],
    },
    Scenario {
        name: "listeners_share_a_port",
        play: listeners_share_a_port,
        sockets: &[
            LISTENER.owned("listen:worker").times(2),
            CLIENT_ASKED.times(SHARED),
            SERVER_ASKED.owned("unknown accept:worker").times(SHARED),
        ],
    },
    Scenario {
        name: "client_killed",
        play: client_killed,
        sockets: &[
            LISTENER,
            CLIENT_FIRST.owned("connect:victim"),
            SERVER_SECOND,
        ],
    },
    Scenario {
        name: "server_killed",
        play: server_killed,
        sockets: &[
            LISTENER,
            CLIENT_SECOND,
            SERVER_FIRST.owned("listener:main accept:victim"),
        ],
    },
    Scenario {
        name: "client_killed_with_unread_data",
        play: client_killed_with_unread_data,
        sockets: &[
            LISTENER,
            CLIENT_RESET
                .owned("connect:victim")
                .ends(RESET_UNREAD, CLIENT_RESET_STATES)
                .bytes(0, 10),
            SERVER_WAS_RESET.bytes(10, 0),
        ],
    },
];

const SHARED: usize = 40;
/// A question of eight bytes, and the answer.
pub(super) const CLIENT_ASKED: Expected = CLIENT_FIRST.bytes(8, 8);
pub(super) const SERVER_ASKED: Expected = SERVER_SECOND.bytes(8, 8);

/// Accepted here, served and closed by a child that inherited it.
fn accepted_then_inherited(stage: &Stage) -> Result<()> {
    let (_listener, mut client, server) = stage.pair()?;
    let child = stage::actor("child", "answer", &[], OwnedFd::from(server))?;
    stage::ask(&mut client)?;
    drop(client);
    child.finish()
}

/// Accepted here, handed over by `SCM_RIGHTS`, served and closed there.
fn accepted_then_passed_on(stage: &Stage) -> Result<()> {
    let (_listener, mut client, server) = stage.pair()?;
    let child = pass_on(server.into(), "answer-passed")?;
    stage::ask(&mut client)?;
    drop(client);
    child.finish()
}

/// Hands a descriptor over by `SCM_RIGHTS` to another process in a role.
fn pass_on(descriptor: OwnedFd, role: &str) -> Result<Actor> {
    let (here, there) = UnixStream::pair()?;
    let child = stage::actor("child", role, &[], OwnedFd::from(there))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let passed = [descriptor.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&passed));
    let flags = SendFlags::empty();
    rustix::net::sendmsg(&here, &[IoSlice::new(&[0])], &mut control, flags)?;
    drop(descriptor);
    Ok(child)
}

/// Connected here, handed over, used and closed there: it remains the connection of who connected.
fn connected_then_passed_on(stage: &Stage) -> Result<()> {
    let (_listener, client, mut server) = stage.pair()?;
    let child = pass_on(client.into(), "answer-passed")?;
    stage::ask(&mut server)?;
    drop(server);
    child.finish()
}

/// Listened here, as the likes of inetd do, accepted where the listener was handed over to.
fn listener_passed_on(stage: &Stage) -> Result<()> {
    let listener = stage::listen(stage.place())?;
    let mut client = stage::connect(stage.place())?;
    let child = pass_on(listener.into(), "accept-passed")?;
    stage::ask(&mut client)?;
    drop(client);
    child.finish()
}

/// A process that becomes another program: shown is what it was when it listened, and when it accepted.
fn exec_between_listen_and_accept(stage: &Stage) -> Result<()> {
    let arguments = [stage.place().to_string(), "after".to_owned()];
    let mut server = stage::actor(
        "before",
        "listen-then-become-accept",
        &arguments,
        Stdio::null(),
    )?;
    stage::report_actor("after", server.pid());
    server.await_ready()?;
    stage::ask(&mut stage::connect(stage.place())?)?;
    server.finish()
}

/// A process that accepts, then becomes the program that serves: shown is what accepted.
fn exec_after_accept(stage: &Stage) -> Result<()> {
    let listener = stage::listen(stage.place())?;
    let after = ["after".to_owned()];
    let inherited = listener.as_fd().try_clone_to_owned()?;
    let server = stage::actor("before", "accept-then-become-answer", &after, inherited)?;
    stage::report_actor("after", server.pid());
    stage::ask(&mut stage::connect(stage.place())?)?;
    server.finish()
}

/// A process is shown by its own name, whatever its threads are called.
fn named_threads(stage: &Stage) -> Result<()> {
    let listener = stage::listen(stage.place())?;
    let place = stage.place();
    let serve = move || stage::answer(stage::accept(&listener)?);
    let ask = move || stage::ask(&mut stage::connect(place)?);
    let named = |name: &str, work: Box<dyn FnOnce() -> Result<()> + Send>| {
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(work)
    };
    let threads = [
        named("acceptor", Box::new(serve))?,
        named("asker", Box::new(ask))?,
    ];
    for thread in threads {
        let done = thread.join();
        done.map_err(|_| anyhow::anyhow!("a thread panicked"))??;
    }
    Ok(())
}

fn accepted_by_a_thread(stage: &Stage) -> Result<()> {
    let listener = stage::listen(stage.place())?;
    let mut client = stage::connect(stage.place())?;
    std::thread::scope(|scope| {
        let served = scope.spawn(|| stage::answer(stage::accept(&listener)?));
        stage::ask(&mut client)?;
        served
            .join()
            .map_err(|_| anyhow::anyhow!("a thread panicked"))?
    })
}

/// A pre-fork server: the children accept from the listener of their parent.
fn shared_listener(stage: &Stage) -> Result<()> {
    let listener = stage::listen(stage.place())?;
    for name in ["one", "two"] {
        let inherited = listener.as_fd().try_clone_to_owned()?;
        let child = stage::actor(name, "accept", &[], inherited)?;
        let mut client = stage::connect(stage.place())?;
        stage::ask(&mut client)?;
        drop(client);
        child.finish()?;
    }
    Ok(())
}

/// Each worker has a listener of its own on the same port (`SO_REUSEPORT`). Which of them a connection
/// came out of is not known until it is accepted.
fn listeners_share_a_port(stage: &Stage) -> Result<()> {
    let start = || -> Result<Actor> {
        let place = [stage.place().to_string()];
        let mut worker = stage::actor("worker", "reuseport", &place, Stdio::piped())?;
        worker.await_ready()?;
        Ok(worker)
    };
    let workers = [start()?, start()?];
    for _ in 0..SHARED {
        stage::ask(&mut stage::connect(stage.place())?)?;
    }
    workers.into_iter().try_for_each(Actor::finish)
}

fn client_killed(stage: &Stage) -> Result<()> {
    let (_listener, victim, server) = victim(stage)?;
    victim.kill()?;
    stage::read_to_end(&server)?;
    Ok(())
}

fn client_killed_with_unread_data(stage: &Stage) -> Result<()> {
    let (_listener, victim, mut server) = victim(stage)?;
    std::io::Write::write_all(&mut server, b"never read")?;
    victim.kill()?;
    stage::read_to_reset(&server)
}

/// A process that is connected, and the accepted side of its connection.
fn victim(stage: &Stage) -> Result<(TcpListener, Actor, std::net::TcpStream)> {
    let listener = stage::listen(stage.place())?;
    let place = [stage.place().to_string()];
    let mut victim = stage::actor("victim", "connect", &place, Stdio::piped())?;
    victim.await_ready()?;
    let server = stage::accept(&listener)?;
    Ok((listener, victim, server))
}

fn server_killed(stage: &Stage) -> Result<()> {
    let listener = stage::listen(stage.place())?;
    let inherited = listener.as_fd().try_clone_to_owned()?;
    let mut victim = stage::actor("victim", "accept-and-wait", &[], inherited)?;
    let client = stage::connect(stage.place())?;
    victim.await_ready()?;
    victim.kill()?;
    stage::read_to_end(&client)?;
    Ok(())
}
