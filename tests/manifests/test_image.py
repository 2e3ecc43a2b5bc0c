"""The image: built as ``make image`` does, its server started from its own root file system."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from model_store.packaging import package
from predictor.runtimes.providers import PROVIDERS
from tests.conftest import quiet
from tests.end_to_end.conftest import SERVING

ROOT = Path(__file__).parents[2]
TAG = "millrace:tested"
LARGEST_BYTES = 900 * 10**6
BUILD_S, START_S = 900, 120  # seconds
USER = 10_001
WITHOUT_PRIVILEGES = {"STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}
# What may be written to: kept in memory in a pod, or the kernel's own.
WRITABLE = ("tmp", "proc", "dev", "sys", "run/lock", "var/tmp")

pytestmark = pytest.mark.timeout(BUILD_S + START_S)


@dataclass(frozen=True, slots=True)
class Image:
    """A built image, and a container of it.

    Attributes:
        container: its name.
        root: its root file system, here.
        config: as Docker has it.
    """

    container: str
    root: Path
    config: dict


def buildah(*arguments):
    """What a buildah command says."""
    ran = subprocess.run(
        ["buildah", *arguments],
        env=os.environ | WITHOUT_PRIVILEGES,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.fixture(scope="module")
def image():
    """Built once; where there is no buildah the tests are skipped and say so."""
    if shutil.which("buildah") is None:
        pytest.skip("no buildah here: install buildah and debootstrap to test the image")
    if os.getuid() != 0 and shutil.which("debootstrap") is None:
        pytest.skip("an image can be built here neither from a registry nor by debootstrap")
    subprocess.run(
        [ROOT / "image" / "build.sh"],
        env=os.environ | WITHOUT_PRIVILEGES | {"TAG": TAG, "PYTHON": sys.executable},
        timeout=BUILD_S,
        check=True,
    )
    container = buildah("from", "--pull-never", TAG)
    try:
        config = json.loads(buildah("inspect", "--type", "image", TAG))["Docker"]["config"]
        yield Image(container, Path(buildah("mount", container)), config)
    finally:
        buildah("rm", container)
        buildah("rmi", TAG)


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
            ["buildah", "run", image.container, "--", *command],
            env=os.environ | WITHOUT_PRIVILEGES,
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


def test_it_serves_a_photo_as_nobody_and_writes_nothing(image, requests, tmp_path):
    """Not root, nothing outside /tmp changes, and SIGTERM ends it well.

    The root itself is writable here, which buildah cannot help; a pod's is not.
    """
    built = package(requests["mobilenet"], tmp_path / "store", quiet)
    shutil.copytree(built.path, image.root / "mnt" / "models")
    photo = next((requests["mobilenet"].parity_images).glob("**/*.jpg"))
    before = files(image.root)
    flags = ("--model_name", "mobilenet", "--host", "127.0.0.1", "--http_port", "0")

    with server(
        image, tmp_path / "log", *flags, "--grpc_port", "0", "--drain_delay_s", "0"
    ) as supervisor:
        port = SERVING.search((tmp_path / "log").read_text())[3]
        url = f"http://127.0.0.1:{port}"
        answer = httpx.put(f"{url}/v1/models/mobilenet:predict", content=photo.read_bytes())
        health = httpx.get(f"{url}/v2/health/ready").status_code
        users = {child.uids().real for child in [supervisor, *supervisor.children(recursive=True)]}
        supervisor.terminate()

    assert answer.json()["predictions"][0]["label"]
    assert health == 200
    assert users == {USER}
    assert files(image.root) == before


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
    """By the packages that the predictor names: CUDA's of the lock's release, AMD's of its own."""
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    wanted = {
        variant: (ROOT / "image" / f"requirements-{variant}.txt")
        .read_text("utf-8")
        .splitlines()[-1]
        for variant in ("cuda", "rocm")
    }

    runtime = re.search(r"^onnxruntime==(\S+)$", lock, re.MULTILINE)[1]
    assert wanted["cuda"] == f"{PROVIDERS['cuda'].package}[cuda,cudnn]=={runtime}"
    assert wanted["rocm"].startswith(f"{PROVIDERS['rocm'].package}==")


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
    (size,) = {each["size"] for each in json.loads(buildah("images", "--json", TAG))}
    number, unit = re.fullmatch(r"([\d.]+) (MB|GB)", size).groups()
    materials = json.loads((image.root / "opt/millrace/sbom.cdx.json").read_text("utf-8"))
    versions = {each["name"]: each["version"] for each in materials["components"]}
    locked = dict(
        line.strip().split("==")
        for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines()
        if "==" in line and not line.startswith("#")
    )

    assert float(number) * {"MB": 10**6, "GB": 10**9}[unit] <= LARGEST_BYTES
    assert materials["bomFormat"] == "CycloneDX"
    names = {name.replace("_", "-").lower(): version for name, version in locked.items()}
    shown = {name.replace("_", "-").lower(): version for name, version in versions.items()}
    assert {"onnxruntime", "kserve", "numpy", "pillow"} <= shown.keys()
    assert {n: v for n, v in shown.items() if n in names and names[n] != v} == {}
    assert (image.root / "usr/share/debian-packages.txt").stat().st_size > 0
    assert "/v2/health/live" in " ".join(image.config["Healthcheck"]["Test"])
    assert image.config["Entrypoint"] == ["python", "-m", "predictor"]


def test_nothing_but_what_serves_is_in_it(image):
    """No tests, no command line, no build tools, no package installer."""
    packages = next((image.root / "opt/millrace/lib").glob("python3.*")) / "site-packages"

    for name in ("millrace", "study", "loadgen", "tests", "pip"):
        assert not (packages / name).exists()
    for name in ("pip", "pip3", "millrace"):
        assert not (image.root / "opt/millrace/bin" / name).exists()
