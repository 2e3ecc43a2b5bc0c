"""The demo's server process: ready, dead early, deaf, or leaving something behind."""

import subprocess
import sys

import pytest

from examples.server import Server, ServerError, free_port

ANSWERING = """
import http.server, signal, subprocess, sys
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
{preparation}
http.server.HTTPServer(("127.0.0.1", {port}), Ready).serve_forever()
"""
OBEDIENT = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))"
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
FORGETFUL = OBEDIENT + "\nsubprocess.Popen(['sleep', '4321'])"


def ready_server(preparation, folder):
    """A server that did ``preparation`` and answers."""
    port = free_port()
    script = ANSWERING.format(preparation=preparation, port=port)
    server = Server([sys.executable, "-c", script], folder / "server.log")
    server.wait_ready(f"http://127.0.0.1:{port}/", timeout_s=30)
    return server


def test_a_server_that_obeys_stops_cleanly(tmp_path):
    """SIGTERM, exit code 0, nothing left."""
    stop = ready_server(OBEDIENT, tmp_path).stop(timeout_s=30)
    assert stop.exit_code == 0
    assert stop.left_behind == ()
    assert stop.clean


def test_a_deaf_server_is_reported_and_killed(tmp_path):
    """No exit code, its process named, and gone afterwards."""
    stop = ready_server(DEAF, tmp_path).stop(timeout_s=0.1)
    assert stop.exit_code is None
    assert len(stop.left_behind) == 1
    assert not stop.clean


def test_a_process_left_behind_is_named_and_killed(tmp_path):
    """An orphan still belongs to the server's session."""
    stop = ready_server(FORGETFUL, tmp_path).stop(timeout_s=30)
    assert stop.exit_code == 0
    assert stop.left_behind == ("sleep 4321",)
    assert not stop.clean


def test_a_server_that_dies_early_shows_its_last_words(tmp_path):
    """The exit code and the log's tail are in the error."""
    script = "import sys; print('no such model'); sys.exit(2)"
    server = Server([sys.executable, "-c", script], tmp_path / "server.log")
    with pytest.raises(ServerError, match=r"(?s)exit code 2.*no such model"):
        server.wait_ready(f"http://127.0.0.1:{free_port()}/", timeout_s=30)


def test_a_server_that_never_gets_ready_is_given_up(tmp_path):
    """The wait is bounded."""
    server = Server(["sleep", "4321"], tmp_path / "server.log")
    with pytest.raises(ServerError, match="not ready"):
        server.wait_ready(f"http://127.0.0.1:{free_port()}/", timeout_s=0.1)
    server.stop(timeout_s=30)


def test_a_free_port_is_free():
    """Another process can listen on it."""
    script = f"import socket; socket.create_server(('127.0.0.1', {free_port()}))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
