//! What a scenario has at hand: namespaces, addresses of its own, sockets, other processes.
//!
//! A scenario is a process of its own, in a network namespace of its own; it tells the runner on its
//! standard output which processes and namespaces took part.

use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::netns::Namespace;
use crate::scope::Scope;

/// No wait in a scenario is longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The network namespace, addresses and ports of one scenario.
pub(crate) struct Stage {
    scope: Scope,
    home: Namespace,
    others: RefCell<Vec<Arc<Namespace>>>,
}

impl Stage {
    /// Takes the calling thread, and with it the whole process, into a new network namespace.
    pub(crate) fn enter(scope: Scope) -> Result<Self> {
        let home = Namespace::enter_new()?;
        report_namespace(&home);
        name_actor("main")?;
        report_actor("main", std::process::id());
        Ok(Self {
            scope,
            home,
            others: RefCell::default(),
        })
    }

    /// The namespace the scenario runs in.
    pub(crate) fn home(&self) -> &Namespace {
        &self.home
    }

    /// One more namespace.
    pub(crate) fn namespace(&self) -> Result<Arc<Namespace>> {
        let namespace = Arc::new(Namespace::new()?);
        report_namespace(&namespace);
        self.others.borrow_mut().push(Arc::clone(&namespace));
        Ok(namespace)
    }

    /// An address of the loopback network; works without being assigned.
    pub(crate) fn loopback(&self, host: u8) -> Ipv4Addr {
        self.scope.loopback(host)
    }

    /// An address of the first or second network for cables.
    pub(crate) fn wire(&self, network: u8, host: u8) -> Ipv4Addr {
        self.scope.wire(network, host)
    }

    /// An IPv6 address, put on the loopback interface.
    pub(crate) fn loopback_v6(&self, host: u16) -> Result<Ipv6Addr> {
        let addr = self.scope.v6(host);
        self.home.loopback_address(addr.into())?;
        Ok(addr)
    }

    /// A port outside the range that the kernel chooses from.
    pub(crate) fn port(&self, number: u16) -> u16 {
        self.scope.port(number)
    }

    /// Where a listener on loopback would be.
    pub(crate) fn place(&self) -> SocketAddr {
        (self.loopback(1), self.port(0)).into()
    }

    /// A connection over loopback: listener, client side, accepted side.
    pub(crate) fn pair(&self) -> Result<(TcpListener, TcpStream, TcpStream)> {
        pair_at(self.place())
    }

    /// Waits until the only sockets left in the scenario's namespaces are in `TIME_WAIT` (or
    /// `FIN_WAIT_2`) as mini-sockets, which report nothing any more.
    pub(crate) fn settle(&self) -> Result<()> {
        for namespace in self.others.borrow().iter() {
            await_open_sockets(namespace, 0)?;
        }
        await_open_sockets(&self.home, 0)
    }
}

/// Waits until there are no more than `most` sockets in a namespace.
pub(crate) fn await_open_sockets(namespace: &Namespace, most: usize) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let open = namespace.run(open_sockets)?;
        if open.len() <= most {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("sockets remain open:\n{}", open.join("\n"));
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Whether there is a listener in a namespace for the port and family of each place.
pub(crate) fn are_listening(namespace: &Namespace, places: &[SocketAddr]) -> Result<bool> {
    const LISTEN: &str = "0A";
    let tables = namespace.run(|| {
        Ok(["tcp", "tcp6"]
            .map(|file| std::fs::read_to_string(format!("/proc/thread-self/net/{file}"))))
    })?;
    let [v4, v6] = tables;
    let (v4, v6) = (v4?, v6?);
    Ok(places.iter().all(|place| {
        let table = if place.is_ipv4() { &v4 } else { &v6 };
        let port = format!(":{:04X}", place.port());
        table.lines().any(|line| {
            let mut words = line.split_whitespace().skip(1);
            let (local, state) = (words.next(), words.nth(1));
            local.is_some_and(|local| local.ends_with(&port)) && state == Some(LISTEN)
        })
    }))
}

/// Lines of `/proc/net/tcp*` of sockets that can still change their state.
fn open_sockets() -> Result<Vec<String>> {
    const TIMER_OF_MINI_SOCKET: &str = "03:";
    let mut open = Vec::new();
    for file in ["tcp", "tcp6"] {
        let table = std::fs::read_to_string(format!("/proc/thread-self/net/{file}"))?;
        let sockets = table.lines().skip(1).filter(|line| {
            let timer = line.split_whitespace().nth(5).unwrap_or_default();
            !timer.starts_with(TIMER_OF_MINI_SOCKET)
        });
        open.extend(sockets.map(str::to_owned));
    }
    Ok(open)
}

/// Like [`Stage::pair`], at any place.
pub(crate) fn pair_at(place: SocketAddr) -> Result<(TcpListener, TcpStream, TcpStream)> {
    let listener = listen(place)?;
    let client = connect(place)?;
    let server = accept(&listener)?;
    Ok((listener, client, server))
}

pub(crate) fn listen(place: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(place).with_context(|| format!("cannot listen on {place}"))
}

pub(crate) fn connect(place: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&place, PATIENCE)
        .with_context(|| format!("cannot connect to {place}"))?;
    patient(stream)
}

pub(crate) fn accept(listener: &TcpListener) -> Result<TcpStream> {
    SockRef::from(listener).set_read_timeout(Some(PATIENCE))?;
    patient(listener.accept().context("cannot accept")?.0)
}

/// Reads that would wait forever fail instead.
pub(crate) fn patient(stream: TcpStream) -> Result<TcpStream> {
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// An unconnected TCP socket.
pub(crate) fn socket(domain: Domain) -> Result<Socket> {
    Ok(Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?)
}

/// Starts to connect and does not wait.
pub(crate) fn start_connect(socket: &Socket, place: SocketAddr) -> Result<()> {
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::from(place)) {
        Ok(()) => Ok(()),
        Err(error)
            if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
        {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Waits until a socket can be written to, that is until connecting came to an end.
pub(crate) fn await_writable(socket: &Socket) -> Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    let timeout = rustix::time::Timespec::try_from(PATIENCE)?;
    let ready = poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&timeout))?;
    ensure!(ready == 1, "connecting does not come to an end");
    Ok(())
}

/// Reads what comes until the peer ends it.
pub(crate) fn read_to_end(mut stream: &TcpStream) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    stream
        .read_to_end(&mut all)
        .context("no orderly end of stream")?;
    Ok(all)
}

/// Reads until the connection is reset.
pub(crate) fn read_to_reset(mut stream: &TcpStream) -> Result<()> {
    match io::copy(&mut stream, &mut io::sink()) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
        other => bail!("a reset was to be expected, not {other:?}"),
    }
}

/// Waits until data is there, without taking it.
pub(crate) fn await_data(stream: &TcpStream) -> Result<()> {
    ensure!(stream.peek(&mut [0])? == 1, "no data");
    Ok(())
}

/// Ends a connection as most do: the first side closes, the second sees the end and closes too.
pub(crate) fn close_in_order(first: TcpStream, second: TcpStream) -> Result<()> {
    drop(first);
    read_to_end(&second)?;
    drop(second);
    Ok(())
}

/// Asks [`answer`] and is done asking.
pub(crate) fn ask(client: &mut TcpStream) -> Result<()> {
    client.write_all(b"question")?;
    client.shutdown(Shutdown::Write)?;
    ensure!(read_to_end(client)? == b"question", "a wrong answer");
    Ok(())
}

/// Sends back what comes until the end, then closes.
pub(crate) fn answer(mut stream: TcpStream) -> Result<()> {
    let question = read_to_end(&stream)?;
    stream.write_all(&question)?;
    Ok(())
}

/// Starts another process of a scenario, under a name by which the expected owners refer to it.
pub(crate) fn actor(
    name: &str,
    role: &str,
    arguments: &[String],
    stdin: impl Into<Stdio>,
) -> Result<Actor> {
    let actor = Actor::start(name, role, arguments, stdin)?;
    report_actor(name, actor.pid());
    Ok(actor)
}

/// Another process: this program in one of [`crate::roles`].
pub(crate) struct Actor {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Actor {
    /// Starts it, named after `name`.
    pub(crate) fn start(
        name: &str,
        role: &str,
        arguments: &[String],
        stdin: impl Into<Stdio>,
    ) -> Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .args(["--role", role, name])
            .args(arguments)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start another process")?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().context("no pipe")?);
        Ok(Self {
            child,
            stdin,
            stdout,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells one that waits for it to begin.
    pub(crate) fn go(&mut self) -> Result<()> {
        let stdin = self.stdin.as_mut().context("no pipe")?;
        Ok(stdin.write_all(b"go\n")?)
    }

    /// Waits for its word that it got where it should.
    pub(crate) fn await_ready(&mut self) -> Result<()> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        ensure!(line.trim() == "ready", "a process said {line:?}, not ready");
        Ok(())
    }

    /// Closes its standard input, if that is a pipe, and waits for a good end.
    pub(crate) fn finish(mut self) -> Result<()> {
        drop(self.stdin.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "a process failed: {status}");
        Ok(())
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

/// Takes the name of an actor as the process's command name.
pub(crate) fn name_actor(name: &str) -> Result<()> {
    let comm = std::ffi::CString::new(comm_of(name))?;
    Ok(rustix::thread::set_name(&comm)?)
}

/// Command name of an actor.
pub(crate) fn comm_of(actor: &str) -> String {
    format!("live-{actor}")
}

/// Becomes, as the same process, the actor `after` in a role, with `stdin` for it.
pub(crate) fn become_actor(after: &str, role: &str, stdin: impl Into<Stdio>) -> Result<()> {
    use std::os::unix::process::CommandExt as _;
    let error = Command::new("/proc/self/exe")
        .args(["--role", role, after])
        .stdin(stdin)
        .exec();
    Err(error).context("cannot become another program")
}

/// Tells the runner of a name that a process goes by.
pub(crate) fn report_actor(name: &str, pid: u32) {
    report("actor", format_args!("{name} {pid}"));
}

fn report_namespace(namespace: &Namespace) {
    report("netns", namespace.inode());
}

/// Tells the runner.
#[expect(clippy::print_stdout, reason = "the runner reads it")]
pub(crate) fn report(what: &str, value: impl std::fmt::Display) {
    println!("{what} {value}");
}
