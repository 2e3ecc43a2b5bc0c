"""What wrk and h2load print, as captured from real runs, becomes results or a loud refusal."""

import numpy as np
import pytest

from benchmarks import load
from benchmarks.errors import BenchmarkError
from benchmarks.load import GrpcBody, H2Count, LoadResult

WRK_OK = """\
Running 1s test @ http://127.0.0.1:18777
  1 threads and 4 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    43.00ms    8.29ms  51.96ms   93.48%
    Req/Sec    91.90     15.23   118.00     70.00%
  92 requests in 1.00s, 10.59KB read
Requests/sec:     91.72
Transfer/sec:     10.55KB
RESULT {"requests": 92, "duration_us": 1003107, "p50_us": 43975, "p99_us": 51959, \
"bytes": 10840, "connect": 0, "read": 0, "write": 0, "status": 0, "timeout": 0}
"""
WRK_503 = """\
Running 1s test @ http://127.0.0.1:18778
  1 threads and 4 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    43.31ms    8.86ms  60.03ms   94.51%
    Req/Sec    91.00     15.95   120.00     70.00%
  91 requests in 1.00s, 10.64KB read
  Non-2xx or 3xx responses: 10
Requests/sec:     90.67
Transfer/sec:     10.60KB
RESULT {"requests": 91, "duration_us": 1003596, "p50_us": 44002, "p99_us": 60032, \
"bytes": 10897, "connect": 0, "read": 0, "write": 0, "status": 10, "timeout": 0}
"""
H2LOAD_HEAD = """\
starting benchmark...
spawning thread #0: 2 total client(s). Timing-based test with 0s of warm-up time and 2s of main \
duration for measurements.
Warm-up started for thread #0.
progress: 50% of clients started
progress: 100% of clients started
Warm-up phase is over for thread #0.
Main benchmark duration is started for thread #0.
Main benchmark duration is over for thread #0. Stopping all clients.
Stopped all clients for thread #0

"""
H2LOAD_OK = (
    H2LOAD_HEAD
    + """\
finished in 2.00s, 156.50 req/s, 18.03KB/s
requests: 313 total, 315 started, 313 done, 313 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 313 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 36.06KB (36928) total, 1.06KB (1089) headers (space savings 95.70%), 17.42KB (17841) data
                     min         max         mean         sd        +/- sd
time for request:    10.81ms     37.47ms     12.58ms      3.98ms    97.44%
"""
)
H2LOAD_NOBODY_LISTENS = (
    H2LOAD_HEAD
    + """\
finished in 2.00s, 0.00 req/s, 0B/s
requests: 0 total, 0 started, 0 done, 0 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 0 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 0B (0) total, 0B (0) headers (space savings 0.00%), 0B (0) data
"""
)


def test_wrk_gives_requests_seconds_and_percentiles():
    """From the one JSON line of our script."""
    expected = LoadResult(
        requests=92, seconds=1.003107, p50_ms=43.975, p99_ms=51.959, tool_cpu_s=0.25
    )
    assert load.parse_wrk(WRK_OK, tool_cpu_s=0.25) == expected


def test_wrk_refused_requests_do_not_count_as_throughput():
    """A 503 is fast; a benchmark that took it for an answer would reward it."""
    with pytest.raises(BenchmarkError, match=r"of 91 requests .*'status': 10"):
        load.parse_wrk(WRK_503, tool_cpu_s=0.0)


def test_wrk_without_a_result_shows_what_it_said_instead():
    """For instance when its script fails."""
    with pytest.raises(BenchmarkError, match="no such file"):
        load.parse_wrk("wrk_rotate.lua: no such file", tool_cpu_s=0.0)


def test_h2load_gives_answers_and_their_bytes():
    """Bodies alone, not headers."""
    count = load.parse_h2load(H2LOAD_OK)
    assert count == H2Count(succeeded=313, failed=0, body_bytes=17841)
    count.check(answer_bytes=57)


def test_h2load_answers_shorter_than_the_right_one_are_failed_calls():
    """A gRPC error is HTTP 200 without a message, which h2load takes for success."""
    with pytest.raises(BenchmarkError, match="some calls failed"):
        H2Count(succeeded=313, failed=0, body_bytes=17841 - 57).check(answer_bytes=57)


def test_h2load_without_a_server_is_no_result():
    """It ends with exit code 0 even then."""
    with pytest.raises(BenchmarkError, match="0 successes"):
        load.parse_h2load(H2LOAD_NOBODY_LISTENS).check(answer_bytes=57)


def test_h2load_counts_every_kind_of_failure():
    """Whether by status or by connection."""
    broken = H2LOAD_OK.replace("0 errored", "2 errored").replace("0 5xx", "7 5xx")
    assert load.parse_h2load(broken).failed == 7


def test_h2load_that_crashes_shows_what_it_said():
    """No summary, no result."""
    with pytest.raises(BenchmarkError, match="cannot open"):
        load.parse_h2load("-d: cannot open the file")


def test_the_log_has_start_status_and_latency_of_each_request():
    """Status -1 where no answer came."""
    log = "1795335658506028\t200\t13117\n1795335658506139\t-1\t14884\n"
    expected = [[1795335658506028, 200, 13117], [1795335658506139, -1, 14884]]
    np.testing.assert_array_equal(load.parse_h2load_log(log), expected)
    assert load.parse_h2load_log("").shape == (0, 3)


def test_calls_in_flight_must_divide_by_the_requests(tmp_path):
    """Otherwise some photos would be asked for more often than others."""
    bodies = [GrpcBody(tmp_path / "00.request", 57)] * 3
    with pytest.raises(BenchmarkError, match="do not divide"):
        load.run_h2load(1, bodies, connections=16, seconds=1, folder=tmp_path)


def test_a_missing_tool_is_named_with_its_debian_package(monkeypatch, tmp_path):
    """One line that says what to type."""
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "wrk").touch(mode=0o755)
    with pytest.raises(BenchmarkError, match="h2load is not installed: apt-get install nghttp2-cl"):
        load.require_tools()
