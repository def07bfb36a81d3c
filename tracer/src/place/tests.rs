//! Paths as they are found on real machines.

use proptest::prelude::*;

use super::*;

const ID: &str = "3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8";
const OTHER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const UID: &str = "0c5f4f2e-9a1b-4c3d-8e7f-5a6b7c8d9e0f";
const UID_: &str = "0c5f4f2e_9a1b_4c3d_8e7f_5a6b7c8d9e0f";

type Case = (
    &'static str,
    Option<(&'static str, Option<Runtime>, Option<&'static str>)>,
    Option<&'static str>,
);

/// In paths: `ID`, `OTHER`, `UID` and `UID_` for what they stand for here.
const CASES: &[Case] = &[
    // Docker: systemd driver, cgroupfs driver, rootless, in a parent of one's own, hybrid hierarchy.
    (
        "/system.slice/docker-ID.scope",
        Some(("ID", Some(Runtime::Docker), None)),
        Some("docker-ID.scope"),
    ),
    (
        "/docker/ID",
        Some(("ID", Some(Runtime::Docker), None)),
        None,
    ),
    (
        "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope",
        Some(("ID", Some(Runtime::Docker), None)),
        Some("docker-ID.scope"),
    ),
    ("/actions_job/ID", Some(("ID", None, None)), None),
    (
        "/ci.slice/docker-ID.scope",
        Some(("ID", Some(Runtime::Docker), None)),
        Some("docker-ID.scope"),
    ),
    // The daemons themselves are in no container.
    ("/system.slice/docker.service", None, Some("docker.service")),
    (
        "/system.slice/containerd.service",
        None,
        Some("containerd.service"),
    ),
    ("/docker", None, None),
    ("/docker/buildkit", None, None),
    // Podman: system, user, init in a child, in a pod, cgroupfs, and its monitor, which is outside.
    (
        "/machine.slice/libpod-ID.scope",
        Some(("ID", Some(Runtime::Podman), None)),
        Some("libpod-ID.scope"),
    ),
    (
        "/machine.slice/libpod-ID.scope/container",
        Some(("ID", Some(Runtime::Podman), None)),
        Some("libpod-ID.scope"),
    ),
    (
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
        Some(("ID", Some(Runtime::Podman), None)),
        Some("libpod-ID.scope"),
    ),
    (
        "/machine.slice/machine-libpod_pod_OTHER.slice/libpod-ID.scope",
        Some(("ID", Some(Runtime::Podman), Some("OTHER"))),
        Some("libpod-ID.scope"),
    ),
    (
        "/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_OTHER.slice/libpod-ID.scope/container",
        Some(("ID", Some(Runtime::Podman), Some("OTHER"))),
        Some("libpod-ID.scope"),
    ),
    (
        "/libpod_parent/libpod-ID",
        Some(("ID", Some(Runtime::Podman), None)),
        None,
    ),
    (
        "/machine.slice/libpod-conmon-ID.scope",
        None,
        Some("libpod-conmon-ID.scope"),
    ),
    // Kubernetes with containerd: systemd and cgroupfs drivers, each class, static pods.
    (
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID_.slice/cri-containerd-ID.scope",
        Some(("ID", Some(Runtime::Containerd), Some("UID"))),
        Some("cri-containerd-ID.scope"),
    ),
    (
        "/kubepods.slice/kubepods-podUID_.slice/cri-containerd-ID.scope",
        Some(("ID", Some(Runtime::Containerd), Some("UID"))),
        Some("cri-containerd-ID.scope"),
    ),
    (
        "/kubepods/besteffort/podUID/ID",
        Some(("ID", None, Some("UID"))),
        None,
    ),
    ("/kubepods/podUID/ID", Some(("ID", None, Some("UID"))), None),
    (
        "/kubepods/burstable/pod5f4dcc3b5aa765d61d8327deb882cf99/ID",
        Some(("ID", None, Some("5f4dcc3b5aa765d61d8327deb882cf99"))),
        None,
    ),
    (
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod5f4dcc3b5aa765d61d8327deb882cf99.slice/cri-containerd-ID.scope",
        Some((
            "ID",
            Some(Runtime::Containerd),
            Some("5f4dcc3b5aa765d61d8327deb882cf99"),
        )),
        Some("cri-containerd-ID.scope"),
    ),
    (
        "/system.slice/containerd.service/kubepods-burstable-podUID_.slice:cri-containerd:ID",
        Some(("ID", Some(Runtime::Containerd), Some("UID"))),
        Some("containerd.service"),
    ),
    (
        "/system.slice/nerdctl-ID.scope",
        Some(("ID", Some(Runtime::Containerd), None)),
        Some("nerdctl-ID.scope"),
    ),
    ("/default/ID", Some(("ID", None, None)), None),
    // Kubernetes with CRI-O, its monitor, and with Docker.
    (
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podUID_.slice/crio-ID.scope",
        Some(("ID", Some(Runtime::CriO), Some("UID"))),
        Some("crio-ID.scope"),
    ),
    (
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podUID_.slice/crio-ID.scope/container",
        Some(("ID", Some(Runtime::CriO), Some("UID"))),
        Some("crio-ID.scope"),
    ),
    (
        "/kubepods/burstable/podUID/crio-ID",
        Some(("ID", Some(Runtime::CriO), Some("UID"))),
        None,
    ),
    (
        "/kubepods.slice/kubepods-podUID_.slice/crio-conmon-ID.scope",
        None,
        Some("crio-conmon-ID.scope"),
    ),
    (
        "/kubepods.slice/kubepods-podUID_.slice/docker-ID.scope",
        Some(("ID", Some(Runtime::Docker), Some("UID"))),
        Some("docker-ID.scope"),
    ),
    // A pod itself, and the kubelet, are no containers.
    (
        "/kubepods.slice/kubepods-podUID_.slice",
        None,
        Some("kubepods-podUID_.slice"),
    ),
    (
        "/system.slice/kubelet.service",
        None,
        Some("kubelet.service"),
    ),
    // A cluster in a container (kind): the innermost counts.
    (
        "/docker/OTHER/kubelet/kubepods/burstable/podUID/ID",
        Some(("ID", None, Some("UID"))),
        None,
    ),
    (
        "/system.slice/docker-OTHER.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-podUID_.slice/cri-containerd-ID.scope",
        Some(("ID", Some(Runtime::Containerd), Some("UID"))),
        Some("cri-containerd-ID.scope"),
    ),
    (
        "/kubepods/podUID/OTHER/docker/ID",
        Some(("ID", Some(Runtime::Docker), None)),
        None,
    ),
    // systemd in a container.
    (
        "/system.slice/docker-ID.scope/system.slice/nginx.service",
        Some(("ID", Some(Runtime::Docker), None)),
        Some("nginx.service"),
    ),
    // LXC, nspawn, libvirt, Amazon ECS.
    (
        "/lxc.payload.web-1/system.slice/nginx.service",
        Some(("web-1", Some(Runtime::Lxc), None)),
        Some("nginx.service"),
    ),
    (
        "/lxc/web-1",
        Some(("web-1", Some(Runtime::Lxc), None)),
        None,
    ),
    (
        "/lxc.payload/web-1",
        Some(("web-1", Some(Runtime::Lxc), None)),
        None,
    ),
    ("/lxc.monitor.web-1", None, None),
    (
        "/machine.slice/machine-web\\x2d1.scope",
        Some(("web-1", Some(Runtime::Machine), None)),
        Some("machine-web\\x2d1.scope"),
    ),
    (
        "/machine.slice/systemd-nspawn@web.service/payload",
        Some(("web", Some(Runtime::Machine), None)),
        Some("systemd-nspawn@web.service"),
    ),
    (
        "/ecs/8e1f0b7c2d3a4e5f9a8b7c6d5e4f3a2b/ID",
        Some(("ID", None, None)),
        None,
    ),
    (
        "/ecs/8e1f0b7c2d3a4e5f9a8b7c6d5e4f3a2b/8e1f0b7c2d3a4e5f9a8b7c6d5e4f3a2b-1234567890",
        Some(("8e1f0b7c2d3a4e5f9a8b7c6d5e4f3a2b-1234567890", None, None)),
        None,
    ),
    // systemd without containers.
    ("/", None, None),
    ("/init.scope", None, Some("init.scope")),
    ("/system.slice", None, Some("system.slice")),
    (
        "/system.slice/system-getty.slice/getty@tty1.service",
        None,
        Some("getty@tty1.service"),
    ),
    (
        "/user.slice/user-1000.slice/session-2.scope",
        None,
        Some("session-2.scope"),
    ),
    (
        "/user.slice/user-1000.slice/user@1000.service/app.slice/app-firefox-1234.scope",
        None,
        Some("app-firefox-1234.scope"),
    ),
    (
        "/user.slice/user-1000.slice/user@1000.service/init.scope",
        None,
        Some("init.scope"),
    ),
    ("/system.slice/_cpu.service", None, Some("cpu.service")),
    // What only looks like it.
    ("/docker/web", None, None),
    (
        "/system.slice/docker-web.scope",
        None,
        Some("docker-web.scope"),
    ),
    ("/podcast/podium", None, None),
    ("/.scope/.service", None, None),
];

fn real(text: &str) -> String {
    text.replace("UID_", UID_)
        .replace("UID", UID)
        .replace("OTHER", OTHER)
        .replace("ID", ID)
}

#[test]
fn paths_of_real_machines() {
    for (path, container, unit) in CASES {
        let place = Place::from_path(&real(path));
        let expected = container.map(|(id, runtime, pod)| Container {
            id: real(id),
            runtime,
            pod: pod.map(real),
        });
        assert_eq!(place.container, expected, "{path}");
        assert_eq!(place.unit, unit.map(real), "{path}");
        assert_eq!(place.path, real(path));
    }
}

#[test]
fn short_ids_are_those_that_docker_shows() {
    let container = |id: &str| Container {
        id: id.to_owned(),
        runtime: None,
        pod: None,
    };
    assert_eq!(container(ID).short_id(), "3f2a9c1b7d4e");
    assert_eq!(
        container("web-server-number-1").short_id(),
        "web-server-number-1"
    );
    assert_eq!(container("").short_id(), "");
}

#[test]
fn within_means_there_or_below() {
    let place = Place::from_path("/system.slice/nginx.service");
    for path in [
        "/",
        "",
        "/system.slice",
        "/system.slice/",
        "/system.slice/nginx.service",
    ] {
        assert!(place.is_within(path), "{path}");
    }
    for path in [
        "/system",
        "/system.slice/nginx",
        "/system.slice/nginx.service/a",
        "/nginx.service",
    ] {
        assert!(!place.is_within(path), "{path}");
    }
}

proptest! {
    #[test]
    fn any_path_is_read(path: String) {
        let place = Place::from_path(&path);
        prop_assert!(place.is_within("/") || !path.starts_with('/') && !path.is_empty());
    }

    #[test]
    fn any_names_are_read(names in proptest::collection::vec(r"(docker-|libpod-|pod|lxc\.payload\.|machine-|_)?[a-f0-9\\x-]{0,70}(\.scope|\.slice|\.service)?", 0..6)) {
        let place = Place::from_path(&format!("/{}", names.join("/")));
        if let Some(container) = place.container {
            prop_assert!(container.id.starts_with(container.short_id()));
        }
    }
}
