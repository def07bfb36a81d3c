//! The names that container runtimes, Kubernetes and systemd give to cgroups.

use super::{Container, Runtime};

/// Scopes of systemd, and directories with the runtime's name in front: `PREFIX-ID.scope`, `PREFIX-ID`.
const PREFIXES: [(&str, Runtime); 6] = [
    ("docker-", Runtime::Docker),
    ("cri-containerd-", Runtime::Containerd),
    ("nerdctl-", Runtime::Containerd),
    ("libpod-", Runtime::Podman),
    ("crio-", Runtime::CriO),
    ("lxc.payload.", Runtime::Lxc),
];

/// Directories whose children are containers of one runtime.
const PARENTS: [(&str, Runtime); 4] = [
    ("docker", Runtime::Docker),
    ("libpod_parent", Runtime::Podman),
    ("lxc", Runtime::Lxc),
    ("lxc.payload", Runtime::Lxc),
];

const HASH_LENGTH: usize = 64;

pub(super) fn container(path: &str) -> Option<Container> {
    let mut parent = "";
    let mut pod = None;
    let mut found = None;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        if let Some(id) = pod_of(name) {
            pod = Some(id);
        } else if let Some((slice, id)) = name.split_once(":cri-containerd:") {
            // Where the kubelet has systemd make cgroups and containerd has not.
            found = is_hash(id).then(|| Container {
                id: id.to_owned(),
                runtime: Some(Runtime::Containerd),
                pod: pod_of(slice),
            });
        } else if let Some((id, runtime)) = container_of(parent, name) {
            // What is inside a container is none of the pod that the container is in, unless it says so.
            found = Some(Container {
                id,
                runtime,
                pod: pod.take(),
            });
        }
        parent = name;
    }
    found
}

/// Id and runtime of a container whose cgroup has this name in `parent`.
fn container_of(parent: &str, name: &str) -> Option<(String, Option<Runtime>)> {
    let scope = name.strip_suffix(".scope");
    let bare = scope.unwrap_or(name);
    for (prefix, runtime) in PREFIXES {
        if let Some(id) = bare.strip_prefix(prefix)
            && (is_hash(id) || runtime == Runtime::Lxc && !id.is_empty())
        {
            return Some((id.to_owned(), Some(runtime)));
        }
    }
    let machine = match (parent, scope) {
        ("machine.slice", Some(scope)) => scope.strip_prefix("machine-"),
        ("machine.slice", None) => name
            .strip_prefix("systemd-nspawn@")
            .and_then(|rest| rest.strip_suffix(".service")),
        _ => None,
    };
    if let Some(machine) = machine.filter(|name| !name.is_empty()) {
        return Some((unescape(machine), Some(Runtime::Machine)));
    }
    let by_parent = PARENTS
        .iter()
        .find_map(|(directory, runtime)| (*directory == parent).then_some(*runtime));
    match by_parent {
        Some(Runtime::Lxc) if scope.is_none() => Some((name.to_owned(), Some(Runtime::Lxc))),
        _ if is_hash(name) => Some((name.to_owned(), by_parent)),
        _ if is_fargate(name) => Some((name.to_owned(), None)),
        _ => None,
    }
}

/// The pod whose cgroup has this name: `podUID`, `kubepods-burstable-podUID.slice` (where systemd wants `_`
/// for `-`), or Podman's `machine-libpod_pod_ID.slice`.
fn pod_of(name: &str) -> Option<String> {
    let bare = name.strip_suffix(".slice").unwrap_or(name);
    if let Some((_, id)) = bare.rsplit_once("libpod_pod_") {
        return is_hash(id).then(|| id.to_owned());
    }
    let id = match bare.strip_prefix("pod") {
        Some(id) => id,
        None if bare.contains("kubepods") => bare.rsplit_once("-pod")?.1,
        None => return None,
    };
    let id = id.replace('_', "-");
    (is_uuid(&id) || is_hex(&id, 32)).then_some(id)
}

/// Amazon ECS on Fargate: 32 hexadecimal digits of the task, `-`, and a number.
fn is_fargate(name: &str) -> bool {
    name.split_once('-').is_some_and(|(task, number)| {
        is_hex(task, 32) && number.len() >= 6 && number.bytes().all(|b| b.is_ascii_digit())
    })
}

fn is_hash(text: &str) -> bool {
    is_hex(text, HASH_LENGTH)
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_uuid(text: &str) -> bool {
    let lengths = [8, 4, 4, 4, 12];
    let groups: Vec<&str> = text.split('-').collect();
    groups.len() == lengths.len()
        && groups
            .iter()
            .zip(lengths)
            .all(|(group, length)| is_hex(group, length))
}

/// Undoes systemd's escapes: `\x2d` is `-`.
fn unescape(name: &str) -> String {
    let mut parts = name.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let escaped = part
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        if let Some(byte) = escaped {
            bytes.push(byte);
            bytes.extend(part.bytes().skip(2));
        } else {
            bytes.extend(b"\\x");
            bytes.extend(part.bytes());
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) fn unit(path: &str) -> Option<String> {
    const LEAVES: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];
    let innermost = |suffixes: &[&str]| {
        path.rsplit('/').find(|name| {
            suffixes.iter().any(|suffix| {
                name.strip_suffix(suffix)
                    .is_some_and(|stem| !stem.is_empty())
            })
        })
    };
    let name = innermost(&LEAVES).or_else(|| innermost(&[".slice"]))?;
    // systemd puts a `_` before names that would clash with the kernel's own files (`cg_escape`).
    Some(name.strip_prefix('_').unwrap_or(name).to_owned())
}
