"""``millrace top`` as a user types it: into a pipe, and on a terminal that is a real pty."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest

from tests.cli.test_commands import millrace
from tests.cli.top_pod import STAGES, Pod, stages_body

WAIT_S = 30  # far more than it takes
OTHER_SCREEN, FIRST_SCREEN, CURSOR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"


@pytest.fixture
def pod():
    """A pod of the model ``digits``."""
    with Pod() as pod:
        yield pod


def test_into_a_pipe_it_prints_one_snapshot_and_ends(pod):
    """As with --once."""
    for arguments in ([], ["--once"]):
        ran = millrace("top", "--url", pod.url, *arguments)

        assert "380 images/s of 412" in ran.stdout
        assert "> decode" in ran.stdout
        assert "\x1b" not in ran.stdout


def test_json_is_what_the_pod_says(pod):
    """One line for each pod."""
    ran = millrace("top", "--url", pod.url, "--url", pod.url, "--model", "digits", "--json")

    assert [json.loads(line) for line in ran.stdout.splitlines()] == [stages_body()] * 2


def test_a_url_needs_no_scheme(pod):
    """A host and a port are enough."""
    assert "digits/1" in millrace("top", "--once", "--url", pod.url.removeprefix("http://")).stdout


@pytest.mark.parametrize("how", ["--once", "--json"])
def test_a_pod_that_is_away_is_one_line_and_exit_code_2(pod, how):
    """The others are printed."""
    with Pod() as other:
        away = other.url

    ran = millrace("top", how, "--url", pod.url, "--url", away, code=2)

    assert "decode limits" in ran.stdout
    assert ran.stderr == (
        f"millrace: {away}: no answer (Connection refused): "
        "start the pod (millrace serve), or say where it is (--url)\n"
    )


def test_a_wrong_model_is_one_line_and_exit_code_2(pod):
    """Nothing on stdout."""
    ran = millrace("top", "--once", "--url", pod.url, "--model", "nobody", code=2)

    assert ran.stdout == ""
    assert len(ran.stderr.splitlines()) == 1
    assert "--model" in ran.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--url", "ftp://a"],
        ["--url", "http://"],
        ["--url", "http://a:port"],
        ["--url", "http://a b"],
        ["--url", "http://[::1"],
        ["--interval", "0"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments):
    """It names the option."""
    assert arguments[0] in millrace("top", "--once", *arguments, code=2).stderr


class Terminal:
    """``millrace top`` on a pty; ``text`` is all that it has written."""

    def __init__(self, *arguments: str, columns: int = 80, lines: int = 40, **env: str) -> None:
        self._ours, theirs = pty.openpty()
        self.resize(columns, lines)
        unset = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE")
        inherited = {name: value for name, value in os.environ.items() if name not in unset}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "millrace", "top", "--interval", "0.1", *arguments],
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            env=inherited | {"TERM": "xterm-256color"} | env,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(theirs)
        self.text = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def resize(self, columns: int, lines: int) -> None:
        """Give the window this size."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, keys: str) -> None:
        """Press these."""
        os.write(self._ours, keys.encode())

    def until(self, pattern: str) -> None:
        """Read what it writes until this is in what is new."""
        fresh, end = "", time.monotonic() + WAIT_S
        while not re.search(pattern, fresh):
            assert select.select([self._ours], [], [], max(0, end - time.monotonic()))[0], fresh
            fresh += os.read(self._ours, 1 << 16).decode()
        self.text += fresh

    def end(self) -> int:
        """Read the rest; the exit code."""
        try:
            while part := os.read(self._ours, 1 << 16):
                self.text += part.decode(errors="replace")
        except OSError:  # how Linux says that nobody has the other end
            pass
        return self.process.wait(WAIT_S)


def test_on_a_terminal_it_stays_and_ctrl_c_leaves_it_as_it_was(pod):
    """Exit code 0, the first screen again and the cursor too."""
    with Terminal("--url", pod.url) as terminal:
        terminal.until("380 images/s of 412")
        pod.pages[STAGES] = stages_body(images_per_second=77.7)
        terminal.until("77.7 images/s of 412")
        terminal.type("\x03")

        assert terminal.end() == 0
    assert OTHER_SCREEN in terminal.text
    assert terminal.text.index(FIRST_SCREEN) > terminal.text.index(OTHER_SCREEN)
    assert CURSOR in terminal.text
    assert "Traceback" not in terminal.text


def test_a_stop_signal_leaves_the_terminal_as_it_was(pod):
    """As Ctrl-C does."""
    with Terminal("--url", pod.url) as terminal:
        terminal.until("380 images/s")
        terminal.process.send_signal(signal.SIGTERM)

        assert terminal.end() == 0
    assert FIRST_SCREEN in terminal.text


def test_on_a_terminal_a_pod_that_is_away_is_asked_again(pod):
    """It says so meanwhile."""
    pod.die()
    with Terminal("--url", pod.url) as terminal:
        terminal.until("no answer")
        pod.start()
        terminal.until("380 images/s of 412")


def test_a_resized_window_is_filled_again(pod):
    """The frame gets the new width."""
    with Terminal("--url", pod.url, columns=60) as terminal:
        terminal.until("╭[^╮]{58}╮")
        terminal.resize(100, 30)
        terminal.until("╭[^╮]{98}╮")


def test_a_terminal_without_colours_gets_none(pod):
    """The bottleneck is still marked."""
    with Terminal("--url", pod.url, NO_COLOR="1") as terminal:
        terminal.until("> decode")
        terminal.type("\x03")
        terminal.end()
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", terminal.text)


def test_a_terminal_that_cannot_go_back_gets_one_snapshot(pod):
    """TERM=dumb, as in an editor."""
    with Terminal("--url", pod.url, TERM="dumb") as terminal:
        assert terminal.end() == 0
    assert "> decode" in terminal.text
    assert "\x1b" not in terminal.text
