"""A container as a node starts it: by an OCI runtime, with what the pod's manifest allows."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

Object = dict[str, Any]

RUNTIME = "crun"
# What a node's runtime gives to a container whose seccompProfile is RuntimeDefault.
PROFILE = Path("/usr/share/containers/seccomp.json")
STOP_S = 60
# The runtime wants one kind of control groups, which no container here has any of.
ALONE = (
    "unshare", "--mount", "--propagation", "private", "sh", "-c",
    'mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"', "sh",
)  # fmt: skip
CAPABILITIES = ("bounding", "effective", "permitted", "inheritable", "ambient")
KERNELS: list[Object] = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
     "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
     "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
     "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
    {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
     "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs",
     "options": ["nosuid", "noexec", "nodev", "ro"]},
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Container:
    """One that runs.

    Attributes:
        name: the runtime's.
        user: UID:GID of what runs in it.
        pid: of its first process, as seen from outside.
        log: what it says.
        state: the runtime's folder.
    """

    name: str
    user: str
    pid: int
    log: Path
    state: Path

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """A command beside the first one, as the same user, with as little allowed."""
        # Not by the runtime's own flag, which puts them in place of all the others.
        given = ("env", *(f"{name}={value}" for name, value in variables.items()))
        return subprocess.run(
            [*_runtime(self.state), "exec", f"--user={self.user}", self.name, *given, *command],
            capture_output=True,
            text=True,
            check=False,
        )


def tmpfs(at: str, size: str) -> Object:
    """An emptyDir in memory; ``size`` as Kubernetes has it."""
    size_bytes = int(size[:-2]) * {"Mi": 2**20, "Gi": 2**30}[size[-2:]]
    options = ["nosuid", "nodev", "mode=1777", f"size={size_bytes}"]
    return {"destination": at, "type": "tmpfs", "source": "tmpfs", "options": options}


def bind(at: str, folder: Path, *, writable: bool = False) -> Object:
    """A folder of the node."""
    options = ["rbind", "rw" if writable else "ro"]
    return {"destination": at, "type": "bind", "source": str(folder), "options": options}


def demand_runtime() -> None:
    """Where a container cannot be started as a node does, the test is skipped and says why."""
    if shutil.which(RUNTIME) is None or not PROFILE.is_file():
        pytest.skip(f"no {RUNTIME} with {PROFILE} here: install crun and buildah")
    ran = subprocess.run([*ALONE, "true"], capture_output=True, text=True, check=False)
    if ran.returncode:
        pytest.skip(f"nothing may be mounted here, so no root read-only: {ran.stderr.strip()}")


def process(
    image: Object, security: Object, arguments: Sequence[str], variables: Mapping[str, str]
) -> Object:
    """What runs in it.

    Args:
        image: its configuration, as Docker has it.
        security: the container's securityContext.
        arguments: after the image's entry point.
        variables: beside the image's.
    """
    assert security["capabilities"] == {"drop": ["ALL"]}
    return {
        "args": [*(image["Entrypoint"] or ()), *arguments],
        "cwd": image["WorkingDir"],
        "env": [*image["Env"], *(f"{name}={value}" for name, value in variables.items())],
        "user": {"uid": security["runAsUser"], "gid": security["runAsGroup"]},
        "capabilities": {name: [] for name in CAPABILITIES},
        "noNewPrivileges": not security["allowPrivilegeEscalation"],
    }


@contextlib.contextmanager
def running(
    folder: Path, root: Path, what: Object, security: Object, mounts: Sequence[Object]
) -> Iterator[Container]:
    """Start it; at the end it is told to stop, and is to have ended well.

    Args:
        folder: for its description, its log and the runtime's state.
        root: its file system.
        what: a ``process``.
        security: the container's securityContext.
        mounts: beside the kernel's own.
    """
    state, log, pid_file = folder / "state", folder / "log", folder / "pid"
    bundle = _bundle(folder, root, what, security, mounts)
    command = ("run", f"--pid-file={pid_file}", f"--bundle={bundle}", folder.name)
    with log.open("w") as output:
        runner = subprocess.Popen([*_runtime(state), *command], stdout=output, stderr=output)
    try:
        _until(lambda: pid_file.exists() and pid_file.read_text() != "", runner, log)
        user = "{uid}:{gid}".format(**what["user"])
        container = Container(folder.name, user, int(pid_file.read_text()), log, state)
        yield container
        os.kill(container.pid, signal.SIGTERM)
        assert runner.wait(STOP_S) == 0, log.read_text()
    finally:
        if runner.poll() is None:  # its first process takes all others of its with it
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(pid_file.read_text()), signal.SIGKILL)
            runner.wait(STOP_S)


def ran(
    root: Path, what: Object, security: Object, mounts: Sequence[Object]
) -> subprocess.CompletedProcess[str]:
    """What a container says that ends by itself, and how it ended; arguments as of ``running``."""
    with tempfile.TemporaryDirectory(prefix="millrace-container-") as name:
        folder = Path(name)
        bundle = _bundle(folder, root, what, security, mounts)
        return subprocess.run(
            [*_runtime(folder / "state"), "run", f"--bundle={bundle}", folder.name],
            capture_output=True,
            text=True,
            check=False,
        )


def until_says(container: Container, says: Callable[[str], object], seconds: float) -> None:
    """Wait until its log does."""
    deadline = time.monotonic() + seconds
    while not says(container.log.read_text()):
        assert Path(f"/proc/{container.pid}").exists(), container.log.read_text()
        assert time.monotonic() < deadline, container.log.read_text()
        time.sleep(0.05)


def _runtime(state: Path) -> list[str]:
    return [*ALONE, RUNTIME, "--cgroup-manager=disabled", f"--root={state}"]


def _until(is_there: Callable[[], bool], runner: subprocess.Popen[bytes], log: Path) -> None:
    while not is_there():
        assert runner.poll() is None, log.read_text()
        time.sleep(0.02)


def _bundle(
    folder: Path, root: Path, what: Object, security: Object, mounts: Sequence[Object]
) -> Path:
    config = {
        "ociVersion": "1.0.2",
        "process": what,
        "root": {"path": str(root), "readonly": security["readOnlyRootFilesystem"]},
        "mounts": [*KERNELS, *mounts],
        "linux": {
            # The node's network, so that whoever tests can be a client.
            "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"],
            "seccomp": _seccomp(),
        },
    }
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@functools.cache
def _seccomp() -> Object:
    """The profile as an OCI runtime takes it, for a process without any capability."""
    profile = json.loads(PROFILE.read_text("utf-8"))
    (ours,) = (each for each in profile["archMap"] if each["architecture"] == "SCMP_ARCH_X86_64")
    calls = [
        {key: each[key] for key in ("names", "action", "errnoRet", "args") if each.get(key)}
        for each in profile["syscalls"]
        if not each.get("includes", {}).get("caps")
        and "amd64" in each.get("includes", {}).get("arches", ["amd64"])
    ]
    return {
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": [ours["architecture"], *ours["subArchitectures"]],
        "syscalls": calls,
    }
