"""What the cache does not let others do to it: those who send files, and those who write there."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from model_store.errors import RegistryDownError, RegistryError
from model_store.registry.artifacts import FolderArtifacts, HttpArtifacts, OtherArtifacts
from model_store.registry.cache import Cache, link
from model_store.registry.record import recall, remember

CONTENT = b"a network " * 500
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def source(tmp_path) -> FolderArtifacts:
    """A folder with the file ``net``."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "net").write_bytes(CONTENT)
    return FolderArtifacts(tmp_path / "source")


@pytest.fixture
def server() -> Iterator[Callable[[int, dict[str, str]], HttpArtifacts]]:
    """Artifacts of a server on the loopback that answers everything alike."""
    answer: list[tuple[int, dict[str, str]]] = []

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, headers = answer[0]
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, *_arguments: object) -> None:
            pass

    listening = HTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()

    def answering(code: int, headers: dict[str, str]) -> HttpArtifacts:
        answer.append((code, headers))
        return HttpArtifacts(f"http://127.0.0.1:{listening.server_port}")

    yield answering
    listening.shutdown()
    thread.join()
    listening.server_close()


def partial(cache: Cache) -> Path:
    """Where the file is while it is fetched."""
    (cache.folder / "partial").mkdir(parents=True, exist_ok=True)
    return cache.folder / "partial" / SHA256


@pytest.mark.parametrize(
    ("code", "headers"),
    [
        (206, {"Content-Range": "bytes 99999999999-"}),
        (206, {"Content-Range": "bytes " + "9" * 30 + "-"}),
        (206, {"Content-Range": "bytes " + "9" * 5000 + "-"}),
        (206, {}),
        (200, {"Content-Length": "eleven"}),
    ],
)
def test_a_server_that_says_nonsense_is_refused(code, headers, cache, server):
    """Nothing is left of it; a sparse file least of all."""
    partial(cache).write_bytes(b"a beginning")

    with pytest.raises(RegistryError, match=r"net: the registry (says|sends)"):
        cache.file(SHA256, server(code, headers), "net")
    assert partial(cache).stat().st_size <= len(CONTENT)


@pytest.mark.parametrize("code", [401, 403])
def test_what_a_server_denies_may_be_allowed_later(code, cache, server):
    """As when a token is renewed: a follower asks again."""
    with pytest.raises(RegistryDownError, match=f"net: HTTP {code}"):
        cache.file(SHA256, server(code, {}), "net")


def test_a_file_without_an_end_is_not_fetched(cache, source):
    """And what was fetched of it gives its space back."""
    with pytest.raises(RegistryError, match="net: is larger than 1000 bytes"):
        cache.file(SHA256, source, "net", at_most=1000)
    assert partial(cache).stat().st_size == 0


def test_a_partial_file_that_is_a_link_is_not_written_through(cache, source, tmp_path):
    """Whoever may write to the cache may not write to whatever the pod may."""
    (tmp_path / "victim").write_bytes(b"precious")
    partial(cache).symlink_to(tmp_path / "victim")

    with pytest.raises(RegistryError, match="is a link and no file; remove it"):
        cache.file(SHA256, source, "net")
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_a_partial_file_that_is_no_file_is_refused(cache, source):
    """A pipe would be waited at."""
    os.mkfifo(partial(cache))

    with pytest.raises(RegistryError, match="is no regular file; remove it"):
        cache.file(SHA256, source, "net")


def test_a_source_that_cannot_be_read_is_told_as_such_and_may_be_readable_later(cache, tmp_path):
    """It is not the cache that is at fault."""
    (tmp_path / "net").symlink_to("net")

    with pytest.raises(
        RegistryDownError, match="net: the registry's file cannot be read: Too many"
    ):
        cache.file(SHA256, FolderArtifacts(tmp_path), "net")


def test_a_full_folder_of_downloads_is_not_the_registrys_fault(cache, source, tmp_path):
    """MLflow's own download into a folder in which no file may be larger than 1000 bytes."""
    repository = get_artifact_repository((tmp_path / "source").as_uri())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(RegistryError) as refused:
            cache.file(SHA256, OtherArtifacts(repository), "net")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert "cannot be written: File too large; TMPDIR names another" in str(refused.value)
    assert not isinstance(refused.value, RegistryDownError)


def test_a_link_takes_nobodys_place(tmp_path):
    """A copy stands in for a link where there are none, and nowhere else."""
    for name in ("new", "there"):
        (tmp_path / name).write_text(name)

    with pytest.raises(FileExistsError):
        link(tmp_path / "new", tmp_path / "there")
    assert (tmp_path / "there").read_text() == "there"


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.ENOTSUP])
def test_where_there_are_no_links_there_are_copies(code, tmp_path, monkeypatch):
    """As on some network file systems."""

    def refuse(_self: Path, _target: Path) -> None:
        raise OSError(code, os.strerror(code))

    (tmp_path / "new").write_text("new")
    monkeypatch.setattr(Path, "hardlink_to", refuse)

    link(tmp_path / "new", tmp_path / "copy")

    assert (tmp_path / "copy").read_text() == "new"


PREPARING = """
import sys, time
from pathlib import Path
from model_store.registry.cache import Cache
with Cache(Path(sys.argv[1])).staging() as staged:
    (staged / "half").write_text("half")
    print(staged, flush=True)
    time.sleep(600)
"""


def test_what_a_killed_process_was_preparing_goes_with_the_next(cache):
    """And nobody's who still lives."""
    command = [sys.executable, "-c", PREPARING, str(cache.folder)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        dead, alive = (Path(p.stdout.readline().strip()) for p in processes if p.stdout)
        processes[0].kill()
        processes[0].wait()
        assert (dead / "half").is_file()

        with cache.staging():
            pass

        assert not dead.parent.exists()
        assert (alive / "half").is_file()
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_what_was_served_last_is_known_under_a_new_password(cache, colours):
    """The registry is the same one."""
    folder = cache.folder / "packages" / "colours"
    shutil.copytree(colours.path, folder)
    package = type(colours)(folder, colours.manifest, colours.labels)
    uri = "models:/colours@champion"

    remember(cache.folder, uri, "https://me:old@registry", package)

    assert recall(cache.folder, uri, "https://me:new@registry") == folder
    assert recall(cache.folder, uri, "https://me:new@another") is None


def test_no_link_is_followed_to_what_is_swept_away(cache, tmp_path):
    """Whoever may write to the cache may not have others remove, or make, anything elsewhere."""
    (tmp_path / "precious").mkdir()
    (cache.folder / "staging").mkdir(parents=True)
    (cache.folder / "staging" / "tmp-old").symlink_to(tmp_path / "precious")

    with cache.staging():
        pass

    assert list((tmp_path / "precious").iterdir()) == []
