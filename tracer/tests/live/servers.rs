//! Real servers, each started with a configuration of its own and stopped, with its files, when dropped.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal};

use crate::netns::Namespace;
use crate::stage;
use crate::tools;

/// Of nginx.
pub(crate) const WORKERS: usize = 2;
/// What nginx answers with, at `/page`.
pub(crate) const PAGE_BYTES: usize = 3000;

const PATIENCE: Duration = Duration::from_secs(10);

/// A running server.
pub(crate) struct Server {
    name: &'static str,
    main: Child,
    directory: PathBuf,
    /// Ends it in order.
    quit: Signal,
}

impl Server {
    /// nginx with a master and workers that accept.
    pub(crate) fn nginx(namespace: &Namespace, places: &[SocketAddr]) -> Result<Self> {
        let directory = directory("nginx")?;
        let configuration = directory.join("nginx.conf");
        fs::write(&configuration, nginx_configuration(&directory, places))?;
        fs::write(directory.join("page"), "x".repeat(PAGE_BYTES))?;
        let mut command = Command::new(tools::find("nginx")?);
        command
            .arg("-e")
            .arg(directory.join("error.log"))
            .arg("-c")
            .arg(&configuration)
            .arg("-p")
            .arg(&directory);
        let server = Self::start("nginx", namespace, &mut command, directory, Signal::QUIT)?;
        // It listens before it starts its workers.
        let deadline = Instant::now() + PATIENCE;
        while server.children()?.len() < WORKERS {
            ensure!(Instant::now() < deadline, "nginx does not start");
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    /// haproxy, which hands each connection on as it is; one process, threads that accept.
    pub(crate) fn haproxy(
        namespace: &Namespace,
        places: &[SocketAddr],
        backend: SocketAddr,
    ) -> Result<Self> {
        let directory = directory("haproxy")?;
        let configuration = directory.join("haproxy.cfg");
        fs::write(&configuration, haproxy_configuration(places, backend))?;
        let mut command = Command::new(tools::find("haproxy")?);
        command
            .args(["-q", "-db", "-f"])
            .arg(&configuration)
            .stderr(Stdio::null());
        let server = Self::start("haproxy", namespace, &mut command, directory, Signal::USR1)?;
        server.await_listening(namespace, places)?;
        Ok(server)
    }

    /// redis: one process, one thread that accepts.
    pub(crate) fn redis(namespace: &Namespace, places: &[SocketAddr]) -> Result<Self> {
        let directory = directory("redis")?;
        let port = places.first().context("no place")?.port();
        let mut command = Command::new(tools::find("redis-server")?);
        command
            .args([
                "--port",
                &port.to_string(),
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .args(["--protected-mode", "no", "--tcp-keepalive", "0"])
            .arg("--dir")
            .arg(&directory)
            .arg("--bind")
            .args(places.iter().map(|place| place.ip().to_string()))
            .stdout(Stdio::null());
        let server = Self::start(
            "redis-server",
            namespace,
            &mut command,
            directory,
            Signal::TERM,
        )?;
        server.await_listening(namespace, places)?;
        Ok(server)
    }

    fn start(
        name: &'static str,
        namespace: &Namespace,
        command: &mut Command,
        directory: PathBuf,
        quit: Signal,
    ) -> Result<Self> {
        let main = spawn_in(namespace, command.stdin(Stdio::null()))?;
        Ok(Self {
            name,
            main,
            directory,
            quit,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.main.id()
    }

    /// Process ids of its children.
    pub(crate) fn children(&self) -> Result<BTreeSet<u32>> {
        let parent = format!("PPid:\t{}", self.main.id());
        let mut children = BTreeSet::new();
        for process in fs::read_dir("/proc")? {
            let process = process?;
            let Ok(pid) = process.file_name().to_string_lossy().parse() else {
                continue;
            };
            let status = fs::read_to_string(process.path().join("status")).unwrap_or_default();
            if status.lines().any(|line| line == parent) {
                children.insert(pid);
            }
        }
        Ok(children)
    }

    fn await_listening(&self, namespace: &Namespace, places: &[SocketAddr]) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !stage::are_listening(namespace, places)? {
            ensure!(Instant::now() < deadline, "{} does not start", self.name);
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Ends it in order. Returns its process id.
    pub(crate) fn stop(mut self) -> Result<u32> {
        rustix::process::kill_process(Pid::from_child(&self.main), self.quit)?;
        let status = self.main.wait()?;
        ensure!(status.success(), "{} failed: {status}", self.name);
        Ok(self.main.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The workers of nginx end when it does so by this signal, not by SIGKILL.
        if matches!(self.main.try_wait(), Ok(None)) {
            let _ = rustix::process::kill_process(Pid::from_child(&self.main), Signal::TERM);
            let _ = self.main.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Starts a command in a namespace.
pub(crate) fn spawn_in(namespace: &Namespace, command: &mut Command) -> Result<Child> {
    namespace.run(|| {
        command
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))
    })
}

fn directory(name: &str) -> Result<PathBuf> {
    let directory = std::env::temp_dir().join(format!("tracer-live-{name}-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

fn nginx_configuration(directory: &Path, places: &[SocketAddr]) -> String {
    let directory = directory.display();
    let mut listen = String::new();
    for place in places {
        let _ = writeln!(listen, "        listen {place};");
    }
    format!(
        "daemon off;
user root;
worker_processes {WORKERS};
pid {directory}/pid;
error_log {directory}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
{listen}        root {directory};
    }}
}}
"
    )
}

fn haproxy_configuration(places: &[SocketAddr], backend: SocketAddr) -> String {
    let mut bind = String::new();
    for place in places {
        let _ = writeln!(bind, "    bind {place}");
    }
    format!(
        "global
    maxconn 4000
    nbthread 2
defaults
    mode tcp
    timeout connect 10s
    timeout client 30s
    timeout server 30s
listen front
{bind}    server nginx {backend}
"
    )
}
