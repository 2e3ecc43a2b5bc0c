"""What cannot be sent is refused in one line, with exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from examples.server import free_port
from loadgen.errors import LoadError
from loadgen.images import Image, read_images
from loadgen.labels import with_labels
from loadgen.plan import Closed, Open, Plan
from millrace.cli import commands
from tests.loadgen.server import http_server
from tests.loadgen.test_command import at, images, load

__all__ = ["images"]  # a fixture
HUGE = "9" * 400


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ((), "there are no images to send"),
        (("/nowhere.jpg",), "cannot read image /nowhere.jpg"),
        (("IMAGES", "--model", "other"), "has no model other"),
        (("IMAGES", "--sweep", "1,2", "--ramp", "1:2:1"), "choose one of --sweep and --ramp"),
        (("IMAGES", "--find-peak"), "--find-peak needs an objective"),
        (("IMAGES", "--slo", "fast"), "write p99=50ms"),
        (("IMAGES", "--min-accuracy", "0.5"), "--min-accuracy needs --labels"),
        (("IMAGES", "--header", "nothing"), "write NAME:VALUE"),
        (("IMAGES", "--endpoint", "grpc://a:1"), "not spoken to in protocol v2"),
        (("--by-ref",), "has no preloaded images (404)"),
        (("IMAGES", "--json", "-", "--csv", "-"), "can go to stdout"),
        (("IMAGES", "--sweep", "1,2,4", "--connections", "3"), "concurrency 4 needs 4 connections"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(images, flags, reason):
    """That says what to do."""
    with http_server() as server:
        given = [str(images) if flag == "IMAGES" else flag for flag in flags]
        ran = load(*at(server), *given)

    assert ran.returncode == 2
    assert reason in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert ran.stdout == ""


def test_no_server_there_is_one_line_and_exit_code_2(images):
    """With the address."""
    port = free_port()

    ran = load(images, "--endpoint", f"http://127.0.0.1:{port}")

    assert ran.returncode == 2
    assert ran.stderr.startswith(f"millrace: no server answers at http://127.0.0.1:{port}")


NUMBERS = (
    "--images-per-request", "--min-accuracy", "--concurrency", "--rate", "--duration", "--requests",
    "--warm-up", "--timeout", "--processes", "--connections", "--priority", "--seed",
    "--resolve-every", "--samples-per-query",
)  # fmt: skip


@pytest.mark.parametrize("flag", NUMBERS)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", HUGE, "9" * 5000, "1e400", "x", ""])
def test_a_number_that_is_none_is_refused(flag, value):
    """Not a number, infinite, huge or negative: the flag and what it takes."""
    ran = CliRunner().invoke(commands, ["load", "x.jpg", flag, value])

    assert ran.exit_code == 2
    assert len(ran.output.splitlines()) == 1, ran.output
    assert ran.output.startswith(f"millrace: {flag} ")
    assert "must be a" in ran.output
    assert len(ran.output) < 200


@pytest.mark.parametrize(
    "flags",
    [
        ("--sweep", HUGE),
        ("--sweep", "9" * 5000),
        ("--sweep", "nan"),
        ("--ramp", "nan:nan:nan"),
        ("--ramp", "1:inf:1"),
        ("--ramp", "1:1e300:1"),
        ("--ramp", "1:1000:1e-9"),
        ("--ramp", "1:2:inf:3"),
        ("--slo", f"p99={HUGE}ms"),
        ("--slo", "p99=nanms"),
        ("--slo", f"errors={HUGE}%"),
        ("--header", "X-Tenant: caf\u00e9"),
        ("--header", "X Tenant: blue"),
        ("--header", "X: a\rb"),
        ("--endpoint", f"http://{'a' * 64}:80"),
        ("--endpoint", f"dns+http://{'a' * 64}:80"),
        ("--endpoint", "http://a:99999"),
        ("--hdr", "-", "--json", "-"),
    ],
)
def test_what_is_out_of_all_bounds_is_refused_too(images, flags):
    """Texts that hold numbers, headers and names."""
    ran = CliRunner().invoke(commands, ["load", str(images), *flags], standalone_mode=True)

    assert ran.exit_code == 2, ran.output
    assert len(ran.output.splitlines()) == 1, ran.output
    assert ran.output.startswith("millrace: ")


@pytest.mark.parametrize(
    "changes",
    [
        {"duration_s": float("nan")},
        {"timeout_s": float("inf")},
        {"warm_up_s": -1.0},
        {"resolve_every_s": 0.0},
        {"seed": -1},
        {"images_per_request": 0},
        {"endpoints": ()},
    ],
)
def test_a_plan_in_python_has_the_same_bounds(changes):
    """As an error of the load client's own."""
    with pytest.raises(LoadError):
        Plan(**({"endpoints": ("http://a:1",), "images": ()} | changes))


@pytest.mark.parametrize("make", [lambda: Open(float("nan")), lambda: Open(0), lambda: Closed(0)])
def test_a_load_in_python_has_them_as_well(make):
    """Before anything is sent."""
    with pytest.raises(LoadError):
        make()


def test_a_table_from_a_spreadsheet_begins_with_a_mark(tmp_path):
    """The byte order mark is no part of the first column's name."""
    (tmp_path / "labels.csv").write_text("\ufefffile,accepted_labels\na.jpg,cat\n", "utf-8")

    (labelled,) = with_labels([Image("a.jpg", b"x")], str(tmp_path / "labels.csv"))

    assert labelled.right is not None
    assert labelled.right.labels == {"cat"}


@pytest.mark.parametrize(
    "content",
    [
        b"file,accepted_labels\na.jpg,\xff\xfe\n",
        b'file,accepted_labels\na.jpg,"' + b"x" * 200_000 + b'"\n',
        b"file,accepted_labels\r\na.jpg,\x00\r\n",
        b"file,accepted_class_indices\na.jpg," + b"9" * 5000 + b"\n",
    ],
    ids=["no UTF-8", "a huge field", "a zero byte", "a huge number"],
)
def test_a_table_that_cannot_be_read_is_refused(tmp_path, content):
    """With its name."""
    (tmp_path / "labels.csv").write_bytes(content)

    with pytest.raises(LoadError, match=r"labels\.csv"):
        with_labels([Image("b.jpg", b"x")], str(tmp_path / "labels.csv"))


def test_an_empty_npy_file_is_refused(tmp_path):
    """NumPy's own error for it is no ValueError."""
    (tmp_path / "empty.npy").write_bytes(b"")

    with pytest.raises(LoadError, match=r"empty\.npy"):
        read_images([Path(tmp_path)])
