"""``millrace load`` as it is typed."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from loadgen.client import Client
from loadgen.plan import Load
from loadgen.report import Report
from millrace.cli import commands
from tests.loadgen.server import MODEL, Asked, HttpServer, Reply, grpc_server, http_server

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


def test_a_series_that_is_cut_short_reports_what_it_has(images):
    """A process of the client is killed in the second measurement: the first one is not lost."""

    def decide(asked: Asked) -> Reply:
        if asked.count == 25:
            (worker,) = [
                child
                for child in psutil.Process().children(recursive=True)
                if "loadgen.worker" in child.cmdline()
            ]
            worker.kill()
        return Reply()

    out = (images / "out.json", images / "out.csv")
    with http_server(decide) as server:
        flags = (*QUICK, "--sweep", "1,2", "--processes", "1", "--json", out[0], "--csv", out[1])
        ran = load(images, *at(server), *flags)

    assert ran.returncode == 2
    assert (
        ran.stderr == "millrace: a process of the load client ended with exit code -9; see above\n"
    )
    assert "concurrency 1" in ran.stdout
    content = json.loads(out[0].read_text())
    assert [measurement["requests"] for measurement in content["measurements"]] == [20]
    assert "exit code -9" in content["error"]
    assert len(list(csv.DictReader(io.StringIO(out[1].read_text())))) == 2


def test_a_search_that_is_cut_short_tells_the_best_rate_so_far(images):
    """And the error."""
    killed = []

    def decide(asked: Asked) -> Reply:
        if asked.body and not killed and asked.count > 45:  # the third measurement, at twice 100/s
            killed.extend(psutil.Process().children(recursive=True))
            for child in killed:
                if "loadgen.worker" in child.cmdline():
                    child.kill()
        return Reply()

    with http_server(decide) as server:
        flags = ("--warm-up", "0", "--duration", "0.2", "--processes", "1", "--rate", "100")
        slo = ("--arrival", "constant", "--find-peak", "--slo", "p99=100s", "--json", "-")
        ran = load(images, *at(server), *flags, *slo)

    assert ran.returncode == 2
    content = json.loads(ran.stdout)
    assert [measurement["load"]["rate"] for measurement in content["measurements"]] == [100, 100]
    assert content["peak_requests_per_s"] == 100
    assert "peak: 100.0 requests/s (the search did not end)" in ran.stderr


def test_ctrl_c_between_two_measurements_loses_none(images, monkeypatch):
    """The files are written, and the exit code is that of an interrupt."""
    measure, measured = Client.measure, []

    def once(client: Client, asked: Load) -> Report:
        if measured:
            raise KeyboardInterrupt
        measured.append(measure(client, asked))
        return measured[0]

    monkeypatch.setattr(Client, "measure", once)
    with http_server() as server:
        arguments = ["load", str(images), *at(server), *QUICK, "--sweep", "1,2"]
        ran = CliRunner().invoke(
            commands, [*arguments, "--processes", "1", "--json", str(images / "out.json")]
        )

    assert ran.exit_code == 1  # click's own word for Abort, which millrace.cli.main makes 130
    assert isinstance(ran.exception, SystemExit)
    content = json.loads((images / "out.json").read_text())
    assert [measurement["requests"] for measurement in content["measurements"]] == [20]
    assert content["error"] == "interrupted"


def test_ctrl_c_in_a_series_ends_it_with_the_code_of_an_interrupt(images):
    """With what was measured until then, the measurement that was cut as well."""
    with http_server() as server:
        command = [*MILLRACE, "load", images, *at(server), "--duration", "600", "--processes", "1"]
        process = subprocess.Popen(
            [*command, "--warm-up", "0", "--json", "-", "--sweep", "1,2"], stdout=subprocess.PIPE
        )
        with server.changed:
            assert server.changed.wait_for(lambda: len(server.asked) > 50, 60)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)

    assert process.returncode == 130
    (measurement,) = json.loads(output)["measurements"]
    assert measurement["interrupted"]


@pytest.mark.parametrize(
    ("series", "code"), [((), 0), (("--sweep", "2"), 0), (("--sweep", "2,3"), 130)]
)
def test_ctrl_c_after_the_measured_time_waits_for_no_answer(images, series, code):
    """The measurement is whole; it ends a series that was to go on, and costs nothing it has."""
    with http_server(lambda asked: Reply(delay_s=0 if asked.count < 20 else 600)) as server:
        command = [*MILLRACE, "load", images, *at(server), "--requests", "22", *series]
        flags = ["--warm-up", "0", "--processes", "1", "--timeout", "500", "--concurrency", "2"]
        process = subprocess.Popen(
            [*command, *flags, "--json", "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        with server.changed:  # all are sent, so the rest of the time is only waited for
            assert server.changed.wait_for(lambda: len(server.asked) == 22, 60)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)

    assert process.returncode == code, errors.decode()
    (measurement,) = json.loads(output)["measurements"]
    assert not measurement["interrupted"]
    assert (measurement["requests"], measurement["failed"]) == (20, 0)
    assert measurement["unanswered"] == 2
    assert b"2 requests were still unanswered when Ctrl-C ended the wait" in errors


def test_a_search_that_ctrl_c_cut_short_is_not_judged_by_what_was_cut(images):
    """A first measurement that holds so far has not held."""
    with http_server() as server:
        command = [*MILLRACE, "load", images, *at(server), "--duration", "600", "--processes", "1"]
        search = ["--warm-up", "0", "--find-peak", "--slo", "p99=100s", "--json", "-"]
        process = subprocess.Popen(
            [*command, *search], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        with server.changed:
            assert server.changed.wait_for(lambda: len(server.asked) > 10, 60)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)

    assert process.returncode == 130
    content = json.loads(output)
    assert content["peak_requests_per_s"] == 0
    assert [measurement["interrupted"] for measurement in content["measurements"]] == [True]
    assert b"no rate is known to hold the objective (the search did not end)" in errors


def test_a_file_that_cannot_be_written_costs_no_other(images):
    """It is said at the end."""
    with http_server() as server:
        ran = load(
            *(images, *at(server), *QUICK, "--json", images / "none" / "out.json"),
            *("--csv", images / "out.csv"),
        )

    assert ran.returncode == 2
    assert "cannot write" in ran.stderr
    assert "p99 ms" in ran.stdout
    assert (images / "out.csv").is_file()


def test_progress_is_shown_when_asked_for(images):
    """On stderr, a line a second; else nothing where stderr is no terminal."""
    with http_server(lambda _: Reply(delay_s=0.01)) as server:
        flags = (images, *at(server), "--warm-up", "0", "--duration", "4", "--processes", "1")
        shown, quiet = load(*flags, "--progress"), load(*flags)

    line = re.compile(r"^concurrency 16: \d of 4 s, \d+/s", re.MULTILINE)
    assert line.search(shown.stderr)
    assert not line.search(quiet.stderr)


def test_a_header_and_a_priority_go_with_every_request(images):
    """As given."""
    with http_server() as server:
        ran = load(images, *at(server), *QUICK, "--header", "X-Tenant: blue", "--priority", "2")

    assert ran.returncode == 0, ran.stderr
    assert {asked.headers.get("x-tenant") for asked in server.asked} == {"blue"}
    assert all(b'"priority":2' in asked.body for asked in server.asked)
