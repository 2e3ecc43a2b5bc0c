"""What the log says of requests, with a clock that the tests turn."""

from __future__ import annotations

import logging

import pytest

from predictor.observation import Observation
from predictor.request_log import LINES_PER_S, RequestLog


class Clock:
    """Seconds, as told."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def request(
    code: str = "200",
    error: str = "",
    images: int = 2,
    operation: str = "POST /v2/models/digits/infer",
    request_id: str = "feed",
) -> Observation:
    """A request of 1.3 ms."""
    return Observation(
        "v2",
        operation,
        request_id,
        code=code,
        error=error,
        images=images,
        began_ns=5_000_000,
        ended_ns=6_300_000,
    )


def test_a_line_says_who_asked_what_and_what_became_of_it(
    clock: Clock, caplog: pytest.LogCaptureFixture
):
    """Id, operation, code, time, images and what the client was told."""
    RequestLog("all", clock).write(request("400", "image 1: not an image"))

    assert caplog.messages == [
        "request feed: POST /v2/models/digits/infer 400 in 1.3 ms, 2 images: image 1: not an image"
    ]


@pytest.mark.parametrize(("images", "said"), [(0, ""), (1, ", 1 image"), (2, ", 2 images")])
def test_images_are_counted_where_there_are_any(
    clock: Clock, caplog: pytest.LogCaptureFixture, images: int, said: str
):
    """A request that was refused before it was parsed has none."""
    RequestLog("all", clock).write(request(images=images))

    assert caplog.messages == [f"request feed: POST /v2/models/digits/infer 200 in 1.3 ms{said}"]


@pytest.mark.parametrize(
    ("what", "logged"),
    [
        ("off", []),
        ("errors", ["400", "200", "INTERNAL", "CANCELLED"]),
        ("all", ["200", "400", "200", "OK", "INTERNAL", "CANCELLED"]),
    ],
)
def test_the_setting_says_which_requests_are_logged(
    clock: Clock, caplog: pytest.LogCaptureFixture, what: str, logged: list[str]
):
    """Errors are those not answered well: a v1 answer with one bad image in it is one of them."""
    log = RequestLog(what, clock)
    log.write(request("200"))
    log.write(request("400", "bad"))
    log.write(request("200", "image 1: not an image"))
    log.write(request("OK"))
    log.write(request("INTERNAL", "internal error"))
    log.write(request("CANCELLED"))

    assert [message.split()[4] for message in caplog.messages] == logged


@pytest.mark.parametrize(
    ("code", "level"),
    [
        ("200", logging.INFO),
        ("404", logging.INFO),
        ("503", logging.INFO),
        ("RESOURCE_EXHAUSTED", logging.INFO),
        ("UNAVAILABLE", logging.INFO),
        ("CANCELLED", logging.INFO),
        ("500", logging.WARNING),
        ("504", logging.WARNING),
        ("INTERNAL", logging.WARNING),
        ("DEADLINE_EXCEEDED", logging.WARNING),
    ],
)
def test_only_the_servers_faults_are_warnings(
    clock: Clock, caplog: pytest.LogCaptureFixture, code: str, level: int
):
    """Refusing what does not fit is what the server is made to do."""
    RequestLog("all", clock).write(request(code, "told"))

    assert [record.levelno for record in caplog.records] == [level]


def test_a_flood_is_cut_to_twenty_lines_and_one_that_counts_the_rest(
    clock: Clock, caplog: pytest.LogCaptureFixture
):
    """The count comes with the first request a second later, whether that one is logged or not."""
    log = RequestLog("errors", clock)
    for _ in range(1000):
        log.write(request("503", "full"))
    flood = len(caplog.messages)
    clock.now_s += 1.0
    log.write(request("200"))
    log.write(request("200"))

    assert flood == LINES_PER_S
    assert caplog.messages[flood:] == [
        "980 requests have no line here: at most 20 a second are written"
    ]


def test_a_lasting_flood_is_bounded_every_second(clock: Clock, caplog: pytest.LogCaptureFixture):
    """A first burst, then twenty lines and one count in each second."""
    log = RequestLog("all", clock)
    written = []
    for _ in range(5):
        before = len(caplog.messages)
        for _ in range(512):
            log.write(request())
            clock.now_s += 1 / 512
        written.append(len(caplog.messages) - before)

    assert max(written) <= 2 * LINES_PER_S
    assert max(written[1:]) <= LINES_PER_S + 1


def test_what_was_left_out_is_said_at_the_stop_too(clock: Clock, caplog: pytest.LogCaptureFixture):
    """And nothing is said where nothing was left out."""
    log = RequestLog("all", clock)
    for _ in range(LINES_PER_S + 3):
        log.write(request())
    log.close()
    log.close()

    assert caplog.messages[LINES_PER_S:] == [
        "3 requests have no line here: at most 20 a second are written"
    ]


def test_lines_that_the_level_hides_take_no_room(clock: Clock, caplog: pytest.LogCaptureFixture):
    """With log_level warning, refusals neither use up the lines of faults nor are counted."""
    caplog.set_level(logging.WARNING)
    log = RequestLog("all", clock)
    for _ in range(1000):
        log.write(request("503"))
    log.write(request("500"))
    log.close()

    assert [message.split()[4] for message in caplog.messages] == ["500"]


@pytest.mark.parametrize(
    ("sent", "written"),
    [
        ("a\nINFO forged", "a\\nINFO forged"),
        ("a\r\x1b[2Jb", "a\\r\\x1b[2Jb"),
        ("a\u2028b\x85c", "a\\u2028b\\x85c"),
        ("a\u202egnp.exe", "a\\u202egnp.exe"),
        ("a\udcffb", "a\\udcffb"),
        ("100 %s größer", "100 %s größer"),
    ],
)
def test_a_client_cannot_forge_lines(
    clock: Clock, caplog: pytest.LogCaptureFixture, sent: str, written: str
):
    """Whatever its path, its error text or its id repeat, a request is one line of visible text."""
    log = RequestLog("all", clock)
    log.write(request("400", error=sent, operation=f"POST /{sent}", request_id=sent))

    assert caplog.messages == [
        f"request {written}: POST /{written} 400 in 1.3 ms, 2 images: {written}"
    ]


def test_a_long_text_is_cut(clock: Clock, caplog: pytest.LogCaptureFixture):
    """A path can be as long as a header may be."""
    RequestLog("all", clock).write(request(operation="GET /" + "x" * 60_000, error="y" * 60_000))

    assert len(caplog.messages[0]) < 1200
    assert caplog.messages[0].endswith("yy…")
