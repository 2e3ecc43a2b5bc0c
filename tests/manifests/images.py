"""The project's images, built as `make image` does."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PREDICTOR = "millrace:tested"
BUILD_S = 900  # seconds
BUILDAH = ("buildah", "--storage-driver", "vfs")  # as the script has it


@dataclass(frozen=True, slots=True)
class Image:
    """A built image, and a container of it.

    Attributes:
        tag: its name.
        container: its container's name.
        root: the root file system of that, here.
        config: as Docker has it.
    """

    tag: str
    container: str
    root: Path
    config: dict[str, Any]

    @property
    def size_bytes(self) -> float:
        """As buildah says it, of all its layers."""
        (size,) = {each["size"] for each in json.loads(buildah("images", "--json", self.tag))}
        number, unit = re.fullmatch(r"([\d.]+) (MB|GB)", size).groups()
        return float(number) * {"MB": 10**6, "GB": 10**9}[unit]

    @property
    def packages(self) -> Path:
        """Where Python's packages are in it."""
        (folder,) = (self.root / "opt/millrace/lib").glob("python3.*")
        return folder / "site-packages"


def demand_builder() -> None:
    """Where no image can be built the test is skipped, and says so."""
    if shutil.which("buildah") is None:
        pytest.skip("no buildah here: install buildah and debootstrap to test the image")
    if os.getuid() != 0 and shutil.which("debootstrap") is None:
        pytest.skip("an image can be built here neither from a registry nor by debootstrap")


def buildah(*arguments: str) -> str:
    """What a buildah command says."""
    ran = subprocess.run(
        [*BUILDAH, *arguments],
        env=os.environ | {"BUILDAH_ISOLATION": "chroot"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@contextlib.contextmanager
def built(tag: str, **variables: str) -> Iterator[Image]:
    """An image, by the script; it is removed at the end.

    Args:
        tag: its name.
        variables: of the script's besides.
    """
    subprocess.run(
        [ROOT / "image" / "build.sh"],
        env=os.environ | {"TAG": tag, "PYTHON": sys.executable} | variables,
        timeout=BUILD_S,
        check=True,
    )
    container = buildah("from", "--pull-never", tag)
    try:
        config = json.loads(buildah("inspect", "--type", "image", tag))["Docker"]["config"]
        yield Image(tag, container, Path(buildah("mount", container)), config)
    finally:
        buildah("rm", container)
        buildah("rmi", tag)


def locked_otherwise(materials: dict[str, Any]) -> dict[str, str]:
    """What a bill of materials has in another version than requirements.lock, with that."""
    locked = {}
    for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines():
        if "==" in line and not line.startswith("#"):
            name, version = line.strip().split("==")
            locked[_normal(name)] = version
    shown = {_normal(each["name"]): each["version"] for each in materials["components"]}
    return {n: v for n, v in shown.items() if locked.get(n, v) != v}


def _normal(name: str) -> str:
    return name.replace("_", "-").lower()
