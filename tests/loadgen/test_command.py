"""``millrace load`` as it is typed."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from examples.server import free_port
from tests.loadgen.server import MODEL, HttpServer, Reply, grpc_server, http_server

MILLRACE = (sys.executable, "-m", "millrace")
QUICK = ("--warm-up", "0", "--requests", "20")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder for each label."""
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "0.jpg").write_bytes(b"a picture of a " + label.encode())
    return tmp_path


def load(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [*MILLRACE, "load", *arguments], capture_output=True, text=True, check=False
    )


def at(server: HttpServer) -> tuple[str, str]:
    """The flags that name a server."""
    return "--endpoint", f"http://127.0.0.1:{server.port}"


def test_a_table_for_people(images):
    """Without a flag a closed loop, its figures, and nothing on stderr."""
    with http_server() as server:
        ran = load(images, *at(server), *QUICK)

    assert ran.returncode == 0, ran.stderr
    assert "concurrency 16" in ran.stdout
    assert "p99 ms" in ran.stdout


def test_json_for_scripts(images):
    """On stdout alone, or in a file beside the table."""
    with http_server() as server:
        alone = load(images, *at(server), *QUICK, "--json", "-", "--concurrency", "2")
        beside = load(images, *at(server), *QUICK, "--json", images / "out.json")

    (measurement,) = json.loads(alone.stdout)["measurements"]
    assert measurement["load"] == {"loop": "closed", "concurrency": 2}
    assert measurement["requests"] == 20
    assert "p99 ms" in beside.stdout
    assert json.loads((images / "out.json").read_text())["missed"] == []


def test_csv_and_percentiles_for_spreadsheets_and_plotters(images):
    """A row for all endpoints and one for each, of each measurement."""
    with http_server() as one, http_server() as two:
        ran = load(
            *(images, *at(one), *at(two), *QUICK, "--sweep", "1,2"),
            *("--csv", "-", "--hdr", images / "out.hgrm"),
        )

    rows = list(csv.DictReader(io.StringIO(ran.stdout)))
    assert [(row["concurrency"], row["endpoint"]) for row in rows[::3]] == [
        ("1", "all"),
        ("2", "all"),
    ]
    assert len(rows) == 6
    assert "1/(1-Percentile)" in (images / "out.hgrm").read_text()


def test_an_objective_that_is_missed_gives_exit_code_1(images):
    """And says by how much; one that holds gives 0."""
    with http_server(lambda _: Reply(delay_s=0.05)) as server:
        missed = load(images, *at(server), *QUICK, "--slo", "p50=1ms")
        held = load(images, *at(server), *QUICK, "--slo", "p50=10s")

    assert (missed.returncode, held.returncode) == (1, 0)
    assert "missed: concurrency 16: p50 is" in missed.stderr


def test_a_peak_that_is_none_gives_exit_code_1(images):
    """With every rate that was tried."""
    with http_server(lambda _: Reply(503)) as server:
        flags = ("--warm-up", "0", "--duration", "0.1", "--processes", "1", "--rate", "200")
        ran = load(images, *at(server), *flags, "--find-peak", "--slo", "p99=1s")

    assert ran.returncode == 1
    assert "no rate held the objective" in ran.stdout
    assert "100/s poisson" in ran.stdout


def test_wrong_answers_are_listed_and_bounded(images):
    """Whoever gives no bound gets exit code 0."""
    with http_server(lambda asked: Reply(body=answer(b"cat" in asked.body))) as server:
        listed = load(images, *at(server), *QUICK, "--labels", "folders")
        bounded = load(
            *(images, *at(server), *QUICK, "--labels", "folders", "--min-accuracy", "0.9")
        )

    assert listed.returncode == 0, listed.stderr
    assert "50.0%" in listed.stdout
    assert str(images / "dog" / "0.jpg") in listed.stdout
    assert bounded.returncode == 1
    assert "accuracy is 50.00%, below 90.00%" in bounded.stderr


def answer(right: bool) -> bytes:
    """A v2 answer with labels."""
    labels = {"name": "labels", "shape": [1, 1], "data": ["cat" if right else "bird"]}
    return json.dumps({"outputs": [labels]}).encode()


def test_a_server_that_answers_nothing_well_gives_exit_code_1(images):
    """Whatever the objective; what it answered is told."""
    with http_server(lambda _: Reply(503)) as server:
        ran = load(images, *at(server), *QUICK)

    assert ran.returncode == 1
    assert "no request was answered well" in ran.stderr
    assert "503" in ran.stdout


def test_held_images_are_asked_for_by_name():
    """All that the pod lists, or those that are named; an unknown one is refused."""
    listed = {"images": [{"name": "a/1.jpg", "bytes": 3, "sha256": "x"}, {"name": "2.jpg"}]}
    with http_server() as server:
        server.gets["/v2/preloaded"] = Reply(body=json.dumps(listed).encode())
        every = load(*at(server), *QUICK, "--by-ref")
        body_of_every = b"".join(asked.body for asked in server.asked)
        one = load("2.jpg", *at(server), *QUICK, "--by-ref")
        unknown = load("3.jpg", *at(server), *QUICK, "--by-ref")

    assert (every.returncode, one.returncode) == (0, 0), every.stderr + one.stderr
    assert b"a/1.jpg" in body_of_every
    assert b"2.jpg" in body_of_every
    assert all(b"2.jpg" in asked.body for asked in server.asked[-20:])
    assert unknown.returncode == 2
    assert "holds no image '3.jpg'" in unknown.stderr


def test_an_open_loop_a_ramp_and_grpc(images):
    """The protocol follows from the endpoint."""
    with grpc_server() as server:
        where = ("--endpoint", f"grpc://127.0.0.1:{server.port}", "--model", MODEL)
        flags = ("--warm-up", "0", "--duration", "0.3", "--arrival", "constant", "--json", "-")
        ran = load(images, *where, *flags, "--ramp", "50:100:50")

    first, second = json.loads(ran.stdout)["measurements"]
    assert (first["load"]["rate"], second["load"]["rate"]) == (50, 100)
    assert (first["outcomes"], second["outcomes"]) == ({"OK": 15}, {"OK": 30})


def test_ctrl_c_ends_it_early_and_still_reports(images):
    """With what there is."""
    with http_server() as server:
        command = [*MILLRACE, "load", images, *at(server), "--duration", "600", "--processes", "1"]
        process = subprocess.Popen(
            [*command, "--warm-up", "0", "--json", "-"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with server.changed:
            assert server.changed.wait_for(lambda: len(server.asked) > 50, 60)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)

    assert process.returncode == 0, errors.decode()
    (measurement,) = json.loads(output)["measurements"]
    assert measurement["interrupted"]
    assert 0 < measurement["seconds"] < 300
    assert measurement["requests"] > 0


def test_progress_is_shown_when_asked_for(images):
    """On stderr, a line a second; else nothing where stderr is no terminal."""
    with http_server(lambda _: Reply(delay_s=0.01)) as server:
        flags = (images, *at(server), "--warm-up", "0", "--duration", "1.5", "--processes", "1")
        shown, quiet = load(*flags, "--progress"), load(*flags)

    assert "concurrency 16: 1 of 2 s" in shown.stderr
    assert "concurrency 16: 1 of 2 s" not in quiet.stderr


def test_a_header_and_a_priority_go_with_every_request(images):
    """As given."""
    with http_server() as server:
        ran = load(images, *at(server), *QUICK, "--header", "X-Tenant: blue", "--priority", "2")

    assert ran.returncode == 0, ran.stderr
    assert {asked.headers.get("x-tenant") for asked in server.asked} == {"blue"}
    assert all(b'"priority":2' in asked.body for asked in server.asked)


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
