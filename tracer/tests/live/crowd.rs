//! Many clients at once, each with an errand: the role `crowd`.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use socket2::SockRef;

use crate::servers::PAGE_BYTES;
use crate::stage;

/// Threads of the crowd.
const HANDS: usize = 12;
/// Requests on a connection that is kept alive.
const REQUESTS: usize = 4;

/// What a client does, and what therefore becomes of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Errand {
    /// Asks for the page once; the server closes first.
    Short,
    /// Asks for the page again and again, then closes first.
    KeepAlive,
    /// Asks for the page and says at once that this is all; the server closes second.
    HalfClose,
    /// Asks for the page, then resets the connection.
    Abort,
    /// Asks redis, then closes first.
    Ping,
    /// Asks redis to close first.
    Quit,
    /// Is refused.
    Refused,
}

const ERRANDS: [(Errand, &str); 7] = [
    (Errand::Short, "short"),
    (Errand::KeepAlive, "keep-alive"),
    (Errand::HalfClose, "half-close"),
    (Errand::Abort, "abort"),
    (Errand::Ping, "ping"),
    (Errand::Quit, "quit"),
    (Errand::Refused, "refused"),
];

impl fmt::Display for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = ERRANDS.iter().find(|(errand, _)| errand == self);
        f.write_str(word.map_or("?", |(_, word)| word))
    }
}

impl FromStr for Errand {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let errand = ERRANDS.iter().find(|(_, word)| *word == text);
        Ok(errand.with_context(|| format!("no errand {text}"))?.0)
    }
}

/// One errand, run so many times.
#[derive(Clone, Copy)]
pub(crate) struct Job {
    pub(crate) errand: Errand,
    pub(crate) place: SocketAddr,
    pub(crate) times: usize,
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}={}", self.errand, self.place, self.times)
    }
}

impl FromStr for Job {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split('=');
        let mut next = || parts.next().context("not ERRAND=PLACE=TIMES");
        Ok(Self {
            errand: next()?.parse()?,
            place: next()?.parse()?,
            times: next()?.parse()?,
        })
    }
}

/// Runs all errands, mixed.
pub(crate) fn run(jobs: &[String]) -> Result<()> {
    let mut jobs = jobs
        .iter()
        .map(|job| job.parse::<Job>())
        .collect::<Result<VecDeque<_>>>()?;
    // One of each job in turn, as long as it lasts.
    let mut errands = VecDeque::new();
    while let Some(mut job) = jobs.pop_front() {
        if job.times > 0 {
            errands.push_back((job.errand, job.place));
            job.times -= 1;
            jobs.push_back(job);
        }
    }
    let errands = Mutex::new(errands);
    let next = || {
        let mut errands = errands.lock().unwrap_or_else(PoisonError::into_inner);
        errands.pop_front()
    };
    let hand = || -> Result<()> {
        while let Some((errand, place)) = next() {
            do_errand(errand, place).with_context(|| format!("{errand} at {place}"))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let hands: Vec<_> = (0..HANDS).map(|_| scope.spawn(hand)).collect();
        hands.into_iter().try_for_each(|hand| {
            hand.join()
                .map_err(|_| anyhow::anyhow!("a thread panicked"))?
        })
    })
}

fn do_errand(errand: Errand, place: SocketAddr) -> Result<()> {
    if errand == Errand::Refused {
        let error = TcpStream::connect(place).err().map(|error| error.kind());
        ensure!(
            error == Some(ErrorKind::ConnectionRefused),
            "not refused: {error:?}"
        );
        return Ok(());
    }
    let mut stream = stage::connect(place)?;
    stream.set_nodelay(true)?;
    match errand {
        Errand::Short => {
            ask(&mut stream, "close")?;
            end_of_page(&stage::read_to_end(&stream)?)?;
        }
        Errand::HalfClose => {
            // In one segment: else the server could close first.
            SockRef::from(&stream).set_tcp_cork(true)?;
            ask(&mut stream, "close")?;
            stream.shutdown(Shutdown::Write)?;
            end_of_page(&stage::read_to_end(&stream)?)?;
        }
        Errand::KeepAlive => {
            for _ in 0..REQUESTS {
                ask(&mut stream, "keep-alive")?;
                read_page(&mut stream)?;
            }
        }
        Errand::Abort => {
            ask(&mut stream, "keep-alive")?;
            read_page(&mut stream)?;
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        }
        Errand::Ping => say(&mut stream, b"PING\r\n", b"+PONG\r\n")?,
        Errand::Quit => {
            say(&mut stream, b"QUIT\r\n", b"+OK\r\n")?;
            ensure!(stage::read_to_end(&stream)?.is_empty(), "redis says more");
        }
        Errand::Refused => bail!("it was not to be connected"),
    }
    Ok(())
}

fn ask(stream: &mut TcpStream, connection: &str) -> Result<()> {
    let request = format!("GET /page HTTP/1.1\r\nHost: test\r\nConnection: {connection}\r\n\r\n");
    Ok(stream.write_all(request.as_bytes())?)
}

fn end_of_page(answer: &[u8]) -> Result<()> {
    ensure!(
        answer.starts_with(b"HTTP/1.1 200 ") && answer.len() > PAGE_BYTES,
        "not the page: {}",
        String::from_utf8_lossy(answer)
    );
    Ok(())
}

/// The page whose length is known, and no byte more.
fn read_page(stream: &mut TcpStream) -> Result<()> {
    const END_OF_HEADER: &[u8] = b"\r\n\r\n";
    let mut answer = Vec::new();
    let mut piece = [0; 8192];
    loop {
        let header = answer
            .windows(END_OF_HEADER.len())
            .position(|window| window == END_OF_HEADER);
        if let Some(header) = header
            && answer.len() >= header + END_OF_HEADER.len() + PAGE_BYTES
        {
            return end_of_page(&answer);
        }
        let filled = stream.read(&mut piece)?;
        ensure!(filled > 0, "the page ends early");
        answer.extend_from_slice(piece.get(..filled).unwrap_or_default());
    }
}

fn say(stream: &mut TcpStream, question: &[u8], answer: &[u8]) -> io::Result<()> {
    stream.write_all(question)?;
    let mut said = vec![0; answer.len()];
    stream.read_exact(&mut said)?;
    if said == answer {
        Ok(())
    } else {
        Err(io::Error::other(String::from_utf8_lossy(&said)))
    }
}
