//! Where a process belongs: its cgroup, and what the cgroup's path says of container, pod and unit.
//!
//! Container runtimes, Kubernetes and systemd each name the cgroups they make in ways of their own, which
//! have been stable for years; nothing else in the kernel knows of containers. The innermost names count:
//! a container can hold others, and units of its own. What a path does not say is `None`.

mod parse;
#[cfg(test)]
mod tests;

/// A cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Path from the root of its hierarchy: `/system.slice/nginx.service`. Names in it are chosen by
    /// whoever made the cgroup: never trusted.
    pub path: String,
    /// The container it belongs to; `None` where the path tells of none.
    pub container: Option<Container>,
    /// The innermost unit of systemd, a service or scope before a slice; `None` where there is none.
    pub unit: Option<String>,
}

/// A container, as its cgroup's path tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its full id, for most runtimes 64 hexadecimal digits.
    pub id: String,
    /// Who runs it; `None` where several name it alike.
    pub runtime: Option<Runtime>,
    /// The pod it is part of: its uid in Kubernetes, its id with Podman.
    pub pod: Option<String>,
}

/// A container runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Runtime {
    /// Docker
    Docker,
    /// containerd, under Kubernetes or nerdctl
    Containerd,
    /// Podman
    Podman,
    /// CRI-O
    CriO,
    /// LXC and Incus
    Lxc,
    /// systemd-nspawn and other machines registered with systemd
    Machine,
}

impl Runtime {
    /// Its name in all outputs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::Podman => "podman",
            Self::CriO => "cri-o",
            Self::Lxc => "lxc",
            Self::Machine => "machine",
        }
    }
}

impl Place {
    /// What a path says.
    pub fn from_path(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            container: parse::container(path),
            unit: parse::unit(path),
        }
    }

    /// Whether it is the cgroup `path`, or one below it.
    pub fn is_within(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        self.path
            .strip_prefix(path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl Container {
    /// As many characters of the id as people are used to see.
    pub fn short_id(&self) -> &str {
        const SHORT: usize = 12;
        let is_hash = self.id.len() > SHORT && self.id.bytes().all(|b| b.is_ascii_hexdigit());
        let end = if is_hash { SHORT } else { self.id.len() };
        self.id.get(..end).unwrap_or(&self.id)
    }
}
