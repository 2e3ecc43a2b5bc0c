"""The real perf_analyzer, Triton's load generator: fetched once, and run as its users run it."""

from __future__ import annotations

import csv
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.end_to_end.conftest import Pod

# tritonclient's later wheels come without the binary. It is executed, so it is held to its hash.
WHEELS = """\
tritonclient==2.50.0 \
--hash=sha256:421fbb69ae6ab8cdb2c35b82134fcef2fe11e7af7718b1fcbc53335ab9bfe889
nvidia-cuda-runtime-cu12==12.9.79 \
--hash=sha256:25bba2dfb01d48a9b59ca474a1ac43c6ebf7011f1b0b8cc44f54eb6ac48a96c3
"""
WANTED = ("perf_analyzer", "libcudart.so.12")  # out of those wheels
LIBB64 = "libb64-0d"  # Debian's package of the third thing that it is linked with
HOME = Path(__file__).parents[2] / "var" / "perf_analyzer"
FETCH_S = 150  # seconds; less than a test may take


@dataclass(frozen=True, slots=True)
class Report:
    """What perf_analyzer said: its text, and the one row of its CSV report by column."""

    text: str
    columns: dict[str, float]


@dataclass(frozen=True, slots=True)
class PerfAnalyzer:
    """An installed perf_analyzer.

    Attributes:
        folder: where the binary and its libraries lie.
    """

    folder: Path

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run it to its end; stdout and stderr are one text."""
        return subprocess.run(
            [self.folder / "perf_analyzer", *map(str, arguments)],
            env={**os.environ, "LD_LIBRARY_PATH": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )

    def measure(self, pod: Pod, protocol: str, *arguments: object) -> Report:
        """Load a pod's ``colours`` model over ``http`` or ``grpc``; it must exit with 0."""
        address = pod.http if protocol == "http" else pod.grpc
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder, "report.csv")
            asked = ("-m", "colours", "-i", protocol, "-u", address, "-f", table, *arguments)
            ran = self.run(*asked)
            assert ran.returncode == 0, ran.stdout
            with table.open(newline="", encoding="utf-8") as lines:
                (row,) = csv.DictReader(lines)
        return Report(ran.stdout, {name: float(value) for name, value in row.items() if value})


class UnavailableError(Exception):
    """Perf_analyzer cannot be had here; says why."""


def installed() -> PerfAnalyzer:
    """The perf_analyzer in var/; fetched first where it is not there yet.

    Raises:
        UnavailableError: another platform, no network, or a library that nobody has.
    """
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise UnavailableError("perf_analyzer is built for Linux on x86_64 only")
    if not HOME.is_dir():
        HOME.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=HOME.parent) as scratch:
            try:
                _install(Path(scratch))
            except (OSError, subprocess.SubprocessError) as error:
                said = getattr(error, "stderr", None) or str(error)
                reason = said.strip().splitlines()[-1]
                raise UnavailableError(f"perf_analyzer cannot be had: {reason}") from error
    return PerfAnalyzer(HOME)


def _install(scratch: Path) -> None:
    """Fetch, try and move into place in one step, so that others see all of it or nothing."""
    folder = scratch / "perf_analyzer"
    folder.mkdir()
    _unpack_wheels(scratch, folder)
    if _missing_libraries(folder):
        _unpack_libb64(scratch, folder)
    if missing := _missing_libraries(folder):
        raise OSError(f"it needs {', '.join(missing)}; install {LIBB64}")
    try:
        folder.rename(HOME)
    except OSError:
        if not HOME.is_dir():  # another pytest was faster
            raise


def _unpack_wheels(scratch: Path, folder: Path) -> None:
    wanted = scratch / "wheels.txt"
    wanted.write_text(WHEELS, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    _fetch([*pip, "--only-binary", ":all:", "--retries", "1", "-r", wanted.name], scratch)
    for wheel in scratch.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if Path(name).name in WANTED:
                    target = folder / Path(name).name
                    with archive.open(name) as source, target.open("wb") as copy:
                        shutil.copyfileobj(source, copy)
    (folder / "perf_analyzer").chmod(0o755)


def _unpack_libb64(scratch: Path, folder: Path) -> None:
    """Out of Debian's package, which needs no root unless it is to be installed."""
    _fetch(["apt-get", "download", LIBB64], scratch)
    (package,) = scratch.glob("*.deb")
    _fetch(["dpkg", "-x", package.name, "unpacked"], scratch)
    for library in (scratch / "unpacked").rglob("libb64.so*"):
        shutil.copy(library, folder)


def _missing_libraries(folder: Path) -> list[str]:
    """The shared libraries that neither this system nor ``folder`` has."""
    listed = subprocess.run(
        ["ldd", folder / "perf_analyzer"],
        env={**os.environ, "LD_LIBRARY_PATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.split()[0] for line in listed.stdout.splitlines() if "not found" in line]


def _fetch(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=FETCH_S, check=True)
