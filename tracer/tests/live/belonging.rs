//! Whom a process belongs to beside itself: user, pid namespace, cgroup, container, unit. The cgroups are
//! made for the tests, with names as container runtimes give them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sched::CloneFlags;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{RunOne, Suite, Verdict};
use crate::netns::Namespace;
use crate::scenarios::Impossible;
use crate::scope::Scope;
use crate::stage::{self, Actor};
use crate::tracer::{Output, Tracer, Transition};

const SCOPE: Scope = Scope(203);
const ID: &str = "3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8";
const USER: u32 = 12_345;

pub(crate) fn suites() -> impl Iterator<Item = Suite> {
    let all: [(&str, RunOne); 5] = [
        ("belonging::container", container),
        ("belonging::process_gone_at_once", process_gone),
        ("belonging::cgroup_gone_at_once", cgroup_gone),
        ("belonging::cgroup_of_version_1", version_1),
        ("belonging::older_than_the_trace", older),
    ];
    all.into_iter().map(|(name, run)| Suite::One(name, run))
}

/// A cgroup of a test's own; removed when dropped.
pub(crate) struct Cgroup {
    root: PathBuf,
    names: Vec<String>,
}

impl Cgroup {
    /// Makes the cgroup at `path` in the hierarchy of version 2, below one that is this run's alone.
    pub(crate) fn new(path: &str) -> Result<Self> {
        let below = format!("tracer-live-{}.slice/{path}", std::process::id());
        Self::make(mount_of("cgroup2", "")?, &below)
    }

    fn make(root: PathBuf, path: &str) -> Result<Self> {
        let names: Vec<String> = path.split('/').map(str::to_owned).collect();
        let cgroup = Self { root, names };
        fs::create_dir_all(cgroup.directory(cgroup.names.len()))
            .map_err(|error| Impossible(format!("cannot make a cgroup: {error}")))?;
        Ok(cgroup)
    }

    fn directory(&self, depth: usize) -> PathBuf {
        self.root
            .join(self.names.iter().take(depth).collect::<PathBuf>())
    }

    /// As the kernel and tracer call it.
    pub(crate) fn path(&self) -> String {
        format!("/{}", self.names.join("/"))
    }

    /// Takes a process in.
    pub(crate) fn take_in(&self, pid: u32) -> Result<()> {
        let file = self.directory(self.names.len()).join("cgroup.procs");
        fs::write(file, pid.to_string()).context("cannot move a process into a cgroup")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for depth in (1..=self.names.len()).rev() {
            // Another test may have a part of the path in use.
            let _ = fs::remove_dir(self.directory(depth));
        }
    }
}

/// Where a file system of a type, with an option, is mounted.
fn mount_of(file_system: &str, option: &str) -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let found = mounts
        .lines()
        .find_map(|line| match *line.split(' ').collect::<Vec<_>>() {
            [_, place, kind, options, ..]
                if kind == file_system
                    && options
                        .split(',')
                        .any(|other| option.is_empty() || other == option) =>
            {
                Some(Path::new(place).to_owned())
            }
            _ => None,
        });
    found.ok_or_else(|| Impossible(format!("no {file_system} {option} is mounted")).into())
}

/// A process that waits to meet itself on the port `number`, as another user.
pub(crate) fn tenant(name: &str, number: u16) -> Result<Actor> {
    start(name, number, CloneFlags::empty())
}

/// With flags for the namespaces that it is to be the first process of.
fn start(name: &str, number: u16, namespaces: CloneFlags) -> Result<Actor> {
    let place = SocketAddr::from((SCOPE.loopback(1), SCOPE.port(number)));
    let arguments = [
        format!("user={USER}"),
        format!("listen={place}"),
        format!("meet={place}"),
    ];
    Namespace::new()?.run(|| {
        nix::sched::unshare(namespaces).context("cannot make a namespace")?;
        Actor::start(name, "talk", &arguments, Stdio::piped())
    })
}

pub(crate) fn tracer_of(number: u16) -> Result<Tracer> {
    Tracer::start(&["--port", &SCOPE.port(number).to_string()])
}

fn perform(mut actor: Actor) -> Result<()> {
    actor.go()?;
    actor.await_ready()?;
    actor.finish()
}

/// The same, at leisure: tracer has looked at it before it ends.
fn perform_slowly(mut actor: Actor) -> Result<()> {
    actor.go()?;
    actor.await_ready()?;
    thread::sleep(Duration::from_millis(300));
    actor.finish()
}

/// Fails unless all that the process did is ascribed to it in these terms.
fn ensure_all(output: &Output, pid: u32, wanted: &Value) -> Result<()> {
    const TRANSITIONS: usize = 12;
    output.ensure_complete()?;
    ensure!(
        output.transitions.len() == TRANSITIONS,
        "{} transitions",
        output.transitions.len()
    );
    for line in &output.transitions {
        let Transition {
            uid,
            ns_pid,
            cgroup,
            container,
            unit,
            ..
        } = line;
        ensure!(line.pid == Some(pid), "not of {pid}: {line:?}");
        let seen = json!({
            "uid": uid, "ns_pid": ns_pid, "cgroup": cgroup, "container": container, "unit": unit,
        });
        ensure!(seen == *wanted, "{seen} is not {wanted}");
    }
    Ok(())
}

/// Fails unless the sockets themselves tell the same user and cgroup, as far as they can.
fn ensure_of_sockets(output: &Output, cgroup: &Cgroup) -> Result<()> {
    let missing = output.session.get("missing_fields").map(Value::to_string);
    let lacks = |field| {
        missing
            .as_ref()
            .is_none_or(|missing| missing.contains(field))
    };
    let mut sockets = output
        .connections
        .iter()
        .filter(|line| line.role != "listener")
        .peekable();
    ensure!(sockets.peek().is_some(), "no connection");
    for line in sockets {
        ensure!(
            line.socket_uid == Some(USER.into()) || lacks("socket_uid"),
            "made by another user: {line:?}"
        );
        ensure!(
            line.socket_cgroup.as_ref() == Some(&cgroup.path()) || lacks("socket_cgroup"),
            "made in another cgroup: {line:?}"
        );
    }
    Ok(())
}

fn container() -> Result<Verdict> {
    let cgroup = Cgroup::new(&format!("docker-{ID}.scope"))?;
    let actor = start("tenant", 0, CloneFlags::CLONE_NEWPID)?;
    cgroup.take_in(actor.pid())?;
    let tracer = tracer_of(0)?;
    let pid = actor.pid();
    perform(actor)?;
    let wanted = json!({
        "uid": USER,
        "ns_pid": 1,
        "cgroup": cgroup.path(),
        "container": {"id": ID, "runtime": "docker", "pod": null},
        "unit": format!("docker-{ID}.scope"),
    });
    let output = tracer.stop()?;
    ensure_all(&output, pid, &wanted)?;
    ensure_of_sockets(&output, &cgroup)?;
    Ok(Verdict::Passed)
}

/// Lets a process in a cgroup come and go while tracer cannot look.
fn unobserved(number: u16, cgroup: &Cgroup) -> Result<(Tracer, u32)> {
    let actor = tenant("tenant", number)?;
    cgroup.take_in(actor.pid())?;
    let tracer = tracer_of(number)?;
    let pid = actor.pid();
    kill_process(tracer.pid(), Signal::STOP)?;
    perform(actor)?;
    Ok((tracer, pid))
}

fn process_gone() -> Result<Verdict> {
    let cgroup = Cgroup::new("a.slice/brief.service")?;
    let (tracer, pid) = unobserved(1, &cgroup)?;
    kill_process(tracer.pid(), Signal::CONT)?;
    let wanted = json!({
        "uid": USER,
        "ns_pid": pid,
        "cgroup": cgroup.path(),
        "container": null,
        "unit": "brief.service",
    });
    let output = tracer.stop()?;
    ensure_all(&output, pid, &wanted)?;
    ensure_of_sockets(&output, &cgroup)?;
    Ok(Verdict::Passed)
}

/// What was gone before it could be looked up is not known, and not guessed.
fn cgroup_gone() -> Result<Verdict> {
    let cgroup = Cgroup::new("b.slice/gone.service")?;
    let (tracer, pid) = unobserved(2, &cgroup)?;
    drop(cgroup);
    kill_process(tracer.pid(), Signal::CONT)?;
    let wanted = json!({
        "uid": USER,
        "ns_pid": pid,
        "cgroup": null,
        "container": null,
        "unit": null,
    });
    ensure_all(&tracer.stop()?, pid, &wanted)?;
    Ok(Verdict::Passed)
}

/// Where controllers are in hierarchies of version 1, so are the containers of many machines.
fn version_1() -> Result<Verdict> {
    let cgroup = Cgroup::make(mount_of("cgroup", "pids")?, &format!("docker/{ID}"))?;
    let actor = tenant("tenant", 3)?;
    cgroup.take_in(actor.pid())?;
    let tracer = tracer_of(3)?;
    let pid = actor.pid();
    perform_slowly(actor)?;
    let wanted = json!({
        "uid": USER,
        "ns_pid": pid,
        "cgroup": format!("/docker/{ID}"),
        "container": {"id": ID, "runtime": "docker", "pod": null},
        "unit": null,
    });
    ensure_all(&tracer.stop()?, pid, &wanted)?;
    Ok(Verdict::Passed)
}

/// What was open before is told of as well, and chosen, by where its owner belongs.
fn older() -> Result<Verdict> {
    let cgroup = Cgroup::new(&format!("docker-{ID}.scope"))?;
    let namespace = Namespace::new()?;
    let place = SocketAddr::from((SCOPE.loopback(1), SCOPE.port(4)));
    let listener = namespace.run(|| stage::listen(place))?;
    let connected = |cgroup: Option<&Cgroup>| {
        let mut actor = namespace.run(|| {
            nix::sched::unshare(CloneFlags::CLONE_NEWPID).context("cannot make a namespace")?;
            Actor::start("tenant", "connect", &[place.to_string()], Stdio::piped())
        })?;
        actor.await_ready()?;
        cgroup.map_or(Ok(()), |cgroup| cgroup.take_in(actor.pid()))?;
        Ok::<_, anyhow::Error>(actor)
    };
    let (inside, outside) = (connected(Some(&cgroup))?, connected(None)?);
    let chosen_by = |option: &str, value: &str| -> Result<Output> {
        let netns = namespace.inode().to_string();
        Tracer::start(&["--netns", &netns, option, value])?.stop()
    };
    let outputs = [
        chosen_by("--container", ID)?,
        chosen_by("--cgroup", &cgroup.path())?,
    ];
    let wanted = json!({
        "pid": inside.pid(), "uid": 0, "ns_pid": 1, "cgroup": cgroup.path(),
        "container": {"id": ID, "runtime": "docker", "pod": null},
        "unit": format!("docker-{ID}.scope"), "owner_source": "snapshot",
    });
    for output in outputs {
        output.ensure_complete()?;
        ensure!(output.connections.len() == 1, "{:?}", output.connections);
        let line = output.connections.first().context("no line")?;
        let seen = json!({
            "pid": line.pid, "uid": line.uid, "ns_pid": line.ns_pid, "cgroup": line.cgroup,
            "container": line.container, "unit": line.unit, "owner_source": line.owner_source,
        });
        ensure!(seen == wanted, "{seen} is not {wanted}");
    }
    inside.kill()?;
    outside.kill()?;
    drop(listener);
    Ok(Verdict::Passed)
}
