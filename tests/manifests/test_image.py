"""The image: built as ``make image`` does, its server started from its own root file system."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import httpx
import psutil
import pytest

from model_store.packaging import package
from predictor.runtimes.providers import PROVIDERS
from tests.conftest import quiet
from tests.end_to_end.conftest import SERVING
from tests.manifests import container as node
from tests.manifests.images import BUILD_S, BUILDAH, ROOT, locked_otherwise
from tests.manifests.kustomize import overlay
from tests.manifests.test_pods import pods

LARGEST_BYTES = 900 * 10**6
START_S = 120  # seconds
USER = 10_001
# What may be written to: kept in memory in a pod, or the kernel's own.
WRITABLE = ("tmp", "proc", "dev", "sys", "run/lock", "var/tmp")
# Where a pod may write: its volume, and what each container has in memory.
IN_MEMORY = ("/tmp", "/dev/shm", "/dev/mqueue")
# Tries to make a file in every folder and to open every file for writing; says where it could.
TRY_TO_WRITE = """
import json, os
could = []
for folder, folders, names in os.walk("/"):
    folders[:] = [each for each in folders if os.path.join(folder, each) not in ("/proc", "/sys")]
    for path, mode in [(".written", "x"), *((name, "r+b") for name in names)]:
        path = os.path.join(folder, path)
        if mode == "x" or os.path.isfile(path):
            try:
                open(path, mode).close()
                could.append(path)
            except OSError:
                pass
print(json.dumps({"could": could, "root": os.statvfs("/").f_flag & os.ST_RDONLY}))
"""

pytestmark = pytest.mark.timeout(BUILD_S + START_S)


def files(root):
    """Every file outside of what may be written to, with its size and when it was changed."""
    found = {}
    for folder, folders, names in os.walk(root):
        inside = os.path.relpath(folder, root)
        folders[:] = [n for n in folders if os.path.normpath(f"{inside}/{n}") not in WRITABLE]
        for name in names:
            stat = Path(folder, name).lstat()
            found[os.path.normpath(f"{inside}/{name}")] = (stat.st_size, stat.st_mtime_ns)
    return found


@contextlib.contextmanager
def server(image, log, *flags):
    """The image's own entry point in its container, as its own user; gives the supervisor."""
    command = [*image.config["Entrypoint"], *flags]
    with log.open("w") as output:
        runner = subprocess.Popen(
            [*BUILDAH, "run", image.container, "--", *command],
            env=os.environ | {"BUILDAH_ISOLATION": "chroot"},
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + START_S
        while SERVING.search(log.read_text()) is None:
            assert runner.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield next(
            child
            for child in psutil.Process(runner.pid).children(recursive=True)
            if " ".join(child.cmdline()).startswith("millrace: supervisor")
        )
        assert runner.wait(START_S) == 0, log.read_text()
    finally:
        for child in (
            psutil.Process(runner.pid).children(recursive=True) if runner.poll() is None else ()
        ):
            with contextlib.suppress(psutil.Error):
                child.kill()
        runner.kill() if runner.poll() is None else None
        runner.wait()


def test_docker_finds_the_recipe_and_what_to_leave_out_by_its_own_names():
    """`docker build .` does what the script does, with the same context."""
    for name, ours in (("Dockerfile", "Containerfile"), (".dockerignore", ".containerignore")):
        assert (ROOT / name).resolve() == ROOT / ours


@pytest.fixture(scope="module")
def mobilenet(requests, tmp_path_factory):
    """A package by the name that the manifests have, and a photo."""
    request = dataclasses.replace(requests["mobilenet"], name="classifier")
    photo = next(request.parity_images.glob("**/*.jpg")).read_bytes()
    return package(request, tmp_path_factory.mktemp("packages"), quiet), photo


def test_it_serves_a_photo_without_any_privileges(image, mobilenet, tmp_path):
    """Not root, nothing outside /tmp changes, and SIGTERM ends it well.

    By the builder's own means, which leave the root writable.
    """
    built, photo = mobilenet
    shutil.copytree(built.path, image.root / "mnt" / "models")
    before = files(image.root)
    flags = ("--model_name", "classifier", "--host", "127.0.0.1", "--http_port", "0")

    with server(
        image, tmp_path / "log", *flags, "--grpc_port", "0", "--drain_delay_s", "0"
    ) as supervisor:
        port = SERVING.search((tmp_path / "log").read_text())[3]
        answer = predict(port, photo)
        users = {child.uids().real for child in [supervisor, *supervisor.children(recursive=True)]}
        supervisor.terminate()

    assert answer["predictions"][0]["label"]
    assert users == {USER}
    assert files(image.root) == before
    shutil.rmtree(image.root / "mnt" / "models")


def predict(port, photo):
    """What the server on a port says to a photo, once it is ready."""
    url = f"http://127.0.0.1:{port}"
    assert httpx.get(f"{url}/v2/health/ready").status_code == 200
    return httpx.put(f"{url}/v1/models/classifier:predict", content=photo).json()


@pytest.fixture
def pod(image, mobilenet, tmp_path):
    """The pod of overlays/local as a node would start it, but for ports that are free here."""
    node.demand_runtime()
    built, _ = mobilenet
    ((spec, container, variables),) = pods(overlay("local"))
    security = container["securityContext"]
    volumes = {each["name"]: each["emptyDir"]["sizeLimit"] for each in spec["volumes"]}
    mounts = [
        node.tmpfs(each["mountPath"], volumes[each["name"]]) for each in container["volumeMounts"]
    ]
    # As KServe's storage initializer leaves it.
    shutil.copytree(built.path, tmp_path / "models")
    mounts.append(node.bind("/mnt/models", tmp_path / "models"))
    here = ("--host=127.0.0.1", "--http_port=0", "--grpc_port=0", "--drain_delay_s=0")
    what = node.process(image.config, security, [*container["args"], *here], variables)
    with node.running(tmp_path, image.root, what, security, mounts) as running:
        node.until_says(running, SERVING.search, START_S)
        yield running


def test_a_pod_serves_from_a_root_that_nobody_can_write_to(image, mobilenet, pod):
    """With the manifest's user, volumes and rights: no capability, RuntimeDefault's system calls.

    It can write in memory and nowhere else, and is healthy by the image's own check.
    """
    _, photo = mobilenet
    port = SERVING.search(pod.log.read_text())[3]
    answer = predict(port, photo)
    supervisor = psutil.Process(pod.pid)
    users = {each.uids().real for each in [supervisor, *supervisor.children(recursive=True)]}
    status = Path(f"/proc/{pod.pid}/status").read_text("utf-8")
    told = pod.run("python", "-c", TRY_TO_WRITE)
    assert told.returncode == 0, told.stderr
    tried = json.loads(told.stdout)
    _, *check = image.config["Healthcheck"]["Test"]

    assert answer["predictions"][0]["label"]
    assert users == {USER}
    assert re.search(r"^CapBnd:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^Seccomp:\s+2$", status, re.MULTILINE)
    assert tried["root"] == os.ST_RDONLY
    assert [path for path in tried["could"] if not path.startswith(IN_MEMORY)] == []
    assert {f"{folder}/.written" for folder in IN_MEMORY} <= set(tried["could"])
    assert pod.run(*check, MILLRACE_HTTP_PORT=port).returncode == 0
    assert pod.run(*check, MILLRACE_HTTP_PORT="1").returncode == 1


def test_without_a_builder_the_script_says_which_to_install(tmp_path):
    """One line, and exit code 2."""
    for name in ("bash", "dirname", "sed", "env"):
        (tmp_path / name).symlink_to(shutil.which(name))
    ran = subprocess.run(
        [ROOT / "image" / "build.sh"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 2
    assert ran.stderr == "image: neither buildah nor docker is here: install one of them\n"


def test_gpu_variants_have_their_own_builds_of_the_runtime():
    """By the packages that the predictor names: CUDA's of the lock's release, AMD's of its own.

    All in exact versions.
    """
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    lines = {
        variant: (ROOT / "image" / f"requirements-{variant}.txt").read_text("utf-8").splitlines()
        for variant in ("cuda", "rocm")
    }
    wanted = {variant: each[-1] for variant, each in lines.items()}
    packages = [each for text in lines.values() for each in text if not each.startswith("#")]

    runtime = re.search(r"^onnxruntime==(\S+)$", lock, re.MULTILINE)[1]
    assert wanted["cuda"] == f"{PROVIDERS['cuda'].package}[cuda,cudnn]=={runtime}"
    assert wanted["rocm"].startswith(f"{PROVIDERS['rocm'].package}==")
    assert [each for each in packages if "==" not in each] == []


def test_the_driver_is_found_where_gke_mounts_it():
    """Its device plugin puts it there and leaves the linker to the image."""
    text = (ROOT / "Containerfile").read_text("utf-8")
    stages = text.split("\nFROM ")

    assert "LD_LIBRARY_PATH=/usr/local/nvidia/lib64:/usr/local/nvidia/lib" in stages[-1]


def test_its_user_can_write_nowhere_but_in_tmp(image):
    """By the files' modes; in a pod the root is read-only besides."""
    pruned = [part for name in WRITABLE for part in ("-path", f"./{name}", "-prune", "-o")]
    its_own = ["(", "-user", str(USER), "-o", "-group", str(USER), "-o", "-perm", "-o+w", ")"]
    found = subprocess.run(
        ["find", ".", *pruned, *its_own, "-not", "-type", "l", "-print"],
        cwd=image.root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert found == []
    assert image.config["User"] == f"{USER}:{USER}"


def test_it_is_small_and_says_what_is_in_it(image):
    """At most 900 MB, with a bill of materials and a health check."""
    materials = json.loads((image.root / "opt/millrace/sbom.cdx.json").read_text("utf-8"))

    assert image.size_bytes <= LARGEST_BYTES
    assert materials["bomFormat"] == "CycloneDX"
    names = {each["name"].lower() for each in materials["components"]}
    assert {"onnxruntime", "kserve", "numpy", "pillow"} <= names
    assert locked_otherwise(materials) == {}
    assert (image.root / "usr/share/debian-packages.txt").stat().st_size > 0
    assert "/v2/health/live" in " ".join(image.config["Healthcheck"]["Test"])
    assert image.config["Entrypoint"] == ["python", "-m", "predictor"]


def test_nothing_but_what_serves_is_in_it(image):
    """No tests, no command line, no build tools, no package installer."""
    for name in ("millrace", "study", "loadgen", "tests", "pip"):
        assert not (image.packages / name).exists()
    for name in ("pip", "pip3", "millrace"):
        assert not (image.root / "opt/millrace/bin" / name).exists()
