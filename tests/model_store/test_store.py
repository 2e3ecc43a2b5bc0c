"""Versions on disk: how they are found, and how they appear whole or not at all."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store.errors import PackageError
from model_store.package import MANIFEST_FILE, read_manifest
from model_store.packaging import package
from model_store.publishing import publish, staging
from model_store.store import list_packages, resolve


def put(store: Path, name: str, *versions: int) -> None:
    """Folders that look like packages; the store does not read manifests."""
    for version in versions:
        folder = store / name / str(version)
        folder.mkdir(parents=True)
        (folder / MANIFEST_FILE).touch()


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A store with cat 1, 2, 10 and dog 3."""
    put(tmp_path / "store", "cat", 1, 2, 10)
    put(tmp_path / "store", "dog", 3)
    return tmp_path / "store"


def test_name_means_the_newest_version(filled):
    """Versions are numbers: 10 comes after 2."""
    assert resolve("cat", filled) == filled / "cat" / "10"


def test_name_with_version_means_that_one(filled):
    """An older version stays reachable."""
    assert resolve("cat/2", filled) == filled / "cat" / "2"


def test_path_and_file_uri_mean_the_folder(filled, tmp_path):
    """A package outside the store is served from where it lies; blanks may be quoted."""
    put(tmp_path / "else where", "bird", 7)
    folder = tmp_path / "else where" / "bird" / "7"
    assert resolve(str(folder), filled) == folder
    assert resolve(f"file://{folder}".replace(" ", "%20"), filled) == folder
    assert resolve(str(folder.parent), filled) == folder


@pytest.mark.parametrize("reference", ["bird", "cat/9", "cat/01", "cat/x", "../cat", "cat/../dog"])
def test_unknown_reference_names_what_exists(reference, filled):
    """The refusal is the listing that one would ask for next."""
    with pytest.raises(PackageError, match=r"cat \(1, 2, 10\), dog \(3\)"):
        resolve(reference, filled)


def test_empty_store_says_how_to_fill_it(tmp_path):
    """A first user learns the command."""
    with pytest.raises(PackageError, match="millrace package"):
        resolve("cat", tmp_path / "none")


def test_other_schemes_are_refused(filled):
    """No URI is mistaken for a path."""
    with pytest.raises(PackageError, match="s3://b/cat: only"):
        resolve("s3://b/cat", filled)


def test_folder_without_manifest_is_no_package(filled, tmp_path):
    """An existing path is said to hold no package, rather than not to exist."""
    with pytest.raises(PackageError, match=r"model\.yaml is missing"):
        resolve(str(tmp_path), filled)


def test_listing_skips_what_is_no_version(filled):
    """Staging folders, stray files and half-made folders are invisible."""
    (filled / "cat" / ".staging-x").mkdir()
    (filled / "cat" / "11").mkdir()
    (filled / "cat" / "notes").touch()
    (filled / "README").touch()
    listed = [(stored.name, stored.version) for stored in list_packages(filled)]
    assert listed == [("cat", 1), ("cat", 2), ("cat", 10), ("dog", 3)]


@given(st.text(max_size=12) | st.text(alphabet="~./:[]@%file\0", max_size=12))
def test_no_reference_leaves_the_store_by_its_name(reference):
    """Whatever is asked, an empty store resolves nothing but paths that exist."""
    store = Path("/nonexistent/store")
    try:
        found = resolve(reference, store)
    except PackageError:
        return
    assert (found / MANIFEST_FILE).is_file()


def test_published_version_is_the_next_number(filled):
    """The number is told to the writer before the folder appears."""
    told: list[int] = []
    with staging(filled, "cat") as folder:
        path = publish(folder, told.append)
    assert (told, path) == ([11], filled / "cat" / "11")


def test_taken_number_is_followed_by_the_next(filled):
    """Another packager published between the look and the rename."""
    told: list[int] = []

    def write(number: int) -> None:
        told.append(number)
        if len(told) == 1:
            put(filled, "cat", number)

    with staging(filled, "cat") as folder:
        path = publish(folder, write)
    assert told == [11, 12]
    assert path == filled / "cat" / "12"


def test_failure_leaves_no_folder(tmp_path):
    """Neither the staging folder nor an empty folder of the model remains."""

    def fail_half_way() -> None:
        with staging(tmp_path / "store", "cat") as folder:
            (folder / "half").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_half_way()
    assert list((tmp_path / "store").iterdir()) == []


def test_what_a_killed_packager_left_is_cleared_away_by_the_next(tmp_path):
    """Of any model; nothing else is touched, and the folder of a model that has no version goes."""
    store = tmp_path / "store"
    put(store, "cat", 1)
    kept = (store / "cat" / "notes", store / "cat" / "1" / MANIFEST_FILE)
    kept[0].touch()
    for name in ("cat", "dog"):
        (store / name / ".staging-killed" / "golden").mkdir(parents=True)
        (store / name / ".staging-killed" / "golden" / "0.png").touch()
    with staging(store, "cat") as folder:
        assert sorted(store.rglob("*")) == sorted([store / "cat", folder, *kept, kept[1].parent])


def test_what_another_packager_is_at_is_left_to_it(filled):
    """It holds a lock on its folder until it is done."""
    with staging(filled, "cat") as first, staging(filled, "cat") as second:
        assert first.is_dir()
        assert second.is_dir()
        with staging(filled, "dog"):
            assert first.is_dir()


def test_store_that_cannot_be_written_is_refused(tmp_path):
    """A file where the store should be."""
    (tmp_path / "store").touch()
    with pytest.raises(PackageError, match="cannot be written"), staging(tmp_path / "store", "cat"):
        pass


def test_what_cannot_be_read_is_not_laid_to_the_store(tmp_path):
    """A network or labels of another user's, on a volume of a cluster."""
    labels = tmp_path / "labels.txt"
    said = f"^{re.escape(str(labels))}: cannot be read: No such file"
    with pytest.raises(PackageError, match=said), staging(tmp_path / "store", "cat"):
        labels.read_text("utf-8")
    (tmp_path / "file").touch()
    for store in (tmp_path / "file", tmp_path / "file" / "deep" / "store"):
        with pytest.raises(PackageError, match="cannot be written"), staging(store, "cat"):
            pass


def test_two_packagers_at_once_get_two_versions(bench, tiny):
    """Both packages are whole and each manifest says the number of its folder."""
    request = bench.request(tiny)
    together = threading.Barrier(2)

    def arrive(what: str, done: int, total: int) -> None:
        if what == "unlike neighbours" and done == total:
            together.wait(timeout=60)

    made: list[str] = []
    threads = [
        threading.Thread(target=lambda: made.append(package(request, bench.store, arrive).version))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == ["1", "2"]
    stored = list_packages(bench.store)
    assert [read_manifest(s.path).version for s in stored] == [s.version for s in stored] == [1, 2]
