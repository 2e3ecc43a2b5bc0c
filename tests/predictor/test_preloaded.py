"""Preloading: which files of a folder are taken, how they lie in memory, what names find."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from predictor import preloaded
from predictor.errors import BadImageError, StartupError
from predictor.preloaded import Preloaded, preload

PIXELS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
LIMIT = 1 << 20  # bytes


def always() -> bool:
    """There is a pod to do it for."""
    return True


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An encoded image, one further down, and pixels; only names count, nothing is decoded."""
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "cat.jpg").write_bytes(b"a cat")
    (tmp_path / "sub" / "deep" / "Dog.PNG").write_bytes(b"a dog, deep down")
    np.save(tmp_path / "sub" / "pixels.npy", PIXELS)
    return tmp_path


@pytest.fixture
def loaded() -> Iterator[Callable[[Path], Preloaded]]:
    """Preload a folder and map it."""
    fds = []

    def load(folder: Path) -> Preloaded:
        fds.append(preload(folder, LIMIT, always))
        return Preloaded(fds[-1])

    yield load
    for fd in fds:
        os.close(fd)


def names(images: Preloaded) -> list[str]:
    """All of them, as listed."""
    return [image["name"] for image in json.loads(bytes(images.listing))["images"]]


def test_images_are_named_by_their_paths_in_the_folder(folder, loaded):
    """With forward slashes, in order, the suffix in either case."""
    images = loaded(folder)

    assert names(images) == ["cat.jpg", "sub/deep/Dog.PNG", "sub/pixels.npy"]
    assert bytes(images.image("cat.jpg")) == b"a cat"
    assert bytes(images.image("sub/deep/Dog.PNG")) == b"a dog, deep down"


def test_the_listing_has_the_size_and_digest_of_every_file_and_their_sums(folder, loaded):
    """As ``sha256sum`` says it of the file."""
    images = loaded(folder)

    listing = json.loads(bytes(images.listing))
    cat, _, pixels = listing["images"]
    array = (folder / "sub" / "pixels.npy").read_bytes()
    assert {"name": "cat.jpg", "bytes": 5, "sha256": hashlib.sha256(b"a cat").hexdigest()} == cat
    assert (hashlib.sha256(array).hexdigest(), len(array)) == (pixels["sha256"], pixels["bytes"])
    assert (listing["count"], listing["bytes"]) == (3, 5 + 16 + len(array))


def test_pixels_lie_in_memory_as_the_network_takes_them(folder, loaded):
    """An array over the shared memory itself, which cannot be written to."""
    image = loaded(folder).image("sub/pixels.npy")

    assert isinstance(image, np.ndarray)
    assert np.array_equal(PIXELS, image)
    assert (np.uint8, False, False) == (image.dtype, image.flags.owndata, image.flags.writeable)
    assert image.ctypes.data % 64 == 0


def test_an_encoded_image_is_a_view_that_cannot_be_written_to(folder, loaded):
    """No byte is copied before it is decoded."""
    image = loaded(folder).image("cat.jpg")

    assert isinstance(image, memoryview)
    assert image.readonly


def test_nobody_can_write_to_what_is_preloaded(folder):
    """Nor make it larger or smaller, nor take the seals off, whoever has the descriptor."""
    fd = preload(folder, LIMIT, always)

    for change in (
        lambda: os.pwrite(fd, b"x", 0),
        lambda: os.ftruncate(fd, 0),
        lambda: os.ftruncate(fd, LIMIT),
        lambda: fcntl.fcntl(fd, fcntl.F_ADD_SEALS, 0),
    ):
        with pytest.raises(PermissionError):
            change()
    os.close(fd)


def test_where_memory_cannot_be_sealed_it_is_mapped_for_reading_all_the_same(
    folder, loaded, monkeypatch, caplog
):
    """Some sandboxes know no seals."""

    def unknown(*_: object) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr("predictor.preloaded.fcntl.fcntl", unknown)

    assert bytes(loaded(folder).image("cat.jpg")) == b"a cat"
    assert "cannot be sealed" in caplog.text


def test_a_file_that_changes_later_changes_nothing(folder, loaded):
    """What was read is what is served."""
    images = loaded(folder)
    (folder / "cat.jpg").write_bytes(b"a fox")

    assert bytes(images.image("cat.jpg")) == b"a cat"


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "/", "cat", "CAT.JPG", "cat.jpg ", "cat.jpg\0", "./cat.jpg", "/cat.jpg"),
        *("sub", "sub/", "sub\\pixels.npy", "sub//pixels.npy", "sub/../cat.jpg", "%63at.jpg"),
        *("../cat.jpg", "/etc/passwd", "cat.jpg\udcff", "cat.jpg\n"),
    ],
)
def test_a_name_is_no_path(folder, loaded, name):
    """Only what is listed, letter by letter, finds an image; no name is looked for on a disk."""
    answer = loaded(folder).image(name)

    assert isinstance(answer, BadImageError)
    assert str(answer) == f"no preloaded image {name!r}"


def test_a_long_name_is_repeated_in_short(folder, loaded):
    """As everything is that a client sent."""
    assert str(loaded(folder).image("x" * 1000)) == f"no preloaded image '{'x' * 40}…'"


def test_a_pod_that_preloads_nothing_says_so():
    """And lists nothing."""
    nothing = Preloaded()

    assert str(nothing.image("cat.jpg")) == "this pod has preloaded no images (--preload)"
    assert json.loads(nothing.listing) == {"images": [], "count": 0, "bytes": 0}


def test_what_is_hidden_or_no_image_or_no_file_is_left_out(folder, loaded):
    """Volumes have such things in them."""
    before = names(loaded(folder))
    (folder / ".hidden.jpg").write_bytes(b"hidden")
    (folder / ".git").mkdir()
    (folder / ".git" / "x.jpg").write_bytes(b"hidden")
    (folder / "README.md").write_bytes(b"no image")
    (folder / "jpg").write_bytes(b"no suffix")
    os.mkfifo(folder / "pipe.jpg")

    assert names(loaded(folder)) == before


def test_links_within_the_folder_are_followed(tmp_path, loaded):
    """As in a volume made of a ConfigMap: names are links into a hidden folder."""
    (tmp_path / "..2026" / "sub").mkdir(parents=True)
    (tmp_path / "..2026" / "cat.jpg").write_bytes(b"a cat")
    (tmp_path / "..2026" / "sub" / "dog.jpg").write_bytes(b"a dog")
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "cat.jpg").symlink_to("..data/cat.jpg")
    (tmp_path / "sub").symlink_to("..data/sub")

    images = loaded(tmp_path)

    assert names(images) == ["cat.jpg", "sub/dog.jpg"]
    assert bytes(images.image("cat.jpg")) == b"a cat"


def test_a_link_back_to_a_folder_above_is_not_followed_for_ever(folder, loaded):
    """It ends where it began."""
    before = names(loaded(folder))
    (folder / "sub" / "again").symlink_to("..")

    assert names(loaded(folder)) == before


def test_the_folder_itself_may_be_a_link(folder, loaded, tmp_path_factory):
    """It is what the operator named."""
    link = tmp_path_factory.mktemp("elsewhere") / "images"
    link.symlink_to(folder)

    assert names(loaded(link)) == names(loaded(folder))


def outside(folder: Path) -> None:
    """A link to a file elsewhere."""
    (folder / "passwd.jpg").symlink_to("/etc/passwd")


def outside_folder(folder: Path) -> None:
    """A link to a folder elsewhere."""
    (folder / "etc").symlink_to("/etc")


def beside(folder: Path) -> None:
    """A link to a folder whose path begins like this one's."""
    other = folder.with_name(folder.name + "-secret")
    other.mkdir(exist_ok=True)
    (folder / "other").symlink_to(other)


def dangling(folder: Path) -> None:
    """A link to nothing."""
    (folder / "gone.jpg").symlink_to("nothing.jpg")


def not_utf8(folder: Path) -> None:
    """A name that no client can write."""
    (folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")


def array(values: object, **how: object) -> Callable[[Path], None]:
    """An array that holds something else."""

    def write(folder: Path) -> None:
        np.save(folder / "bad.npy", np.asarray(values, **how), allow_pickle=True)

    return write


def npy_bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """A good array, changed."""

    def write(folder: Path) -> None:
        good = (folder / "sub" / "pixels.npy").read_bytes()
        (folder / "bad.npy").write_bytes(change(good))

    return write


REFUSED = {
    "a link out": (outside, "'passwd.jpg' is a link out of the folder, to '/etc/passwd'"),
    "a link out to a folder": (outside_folder, "'etc' is a link out of the folder"),
    "a link to a neighbour": (beside, "'other' is a link out of the folder"),
    "a link to nothing": (dangling, "nothing.jpg: No such file"),
    "a name that is not UTF-8": (not_utf8, r"the name 'caf\udce9.jpg' is not UTF-8"),
    "floats": (array(PIXELS, dtype=np.float32), "'bad.npy' holds float32 [4, 5, 3]"),
    "one channel": (array(PIXELS[:, :, :1]), "uint8 [4, 5, 1] in C order"),
    "a batch": (array(PIXELS[np.newaxis]), "[1, 4, 5, 3]"),
    "no rows": (array(PIXELS[:0]), "[0, 5, 3]"),
    "Fortran order": (array(PIXELS, order="F"), "in Fortran order"),
    "objects": (array([[[{}] * 3]], dtype=object), "holds object"),
    "a pickle": (npy_bytes(lambda good: pickle.dumps(PIXELS)), "'bad.npy' is no .npy file"),
    "an archive": (npy_bytes(lambda good: b"PK\x03\x04" + good), "is no .npy file"),
    "nothing": (npy_bytes(lambda good: b""), "is no .npy file"),
    "half a header": (npy_bytes(lambda good: good[:40]), "is no .npy file"),
    "a header of code": (
        npy_bytes(lambda good: good.replace(b"(4, 5, 3)", b"exit(1)  ")),
        "is no .npy file",
    ),
    "an unknown version": (npy_bytes(lambda good: good[:6] + b"\x07" + good[7:]), "is no .npy"),
    "too short": (npy_bytes(lambda good: good[:-1]), "should have 188 bytes and has 187"),
    "too long": (npy_bytes(lambda good: good + b"x"), "should have 188 bytes and has 189"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_taken_stops_the_start_with_its_name_and_the_reason(folder, name):
    """In one line."""
    spoil, words = REFUSED[name]
    spoil(folder)

    with pytest.raises(StartupError) as caught:
        preload(folder, LIMIT, always)

    assert words in str(caught.value)
    assert str(caught.value).startswith("preload: ")
    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_that_is_none_or_holds_none_is_refused(tmp_path):
    """A pod that was to preload must not serve without."""
    (tmp_path / "file.jpg").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    for path, words in (
        ("nowhere", "nowhere: No such file"),
        ("file.jpg", "file.jpg: Not a directory"),
        ("empty", r"empty: no image in it \(.jpg, "),
    ):
        with pytest.raises(StartupError, match=words):
            preload(tmp_path / path, LIMIT, always)


def test_a_file_that_may_not_be_read_is_named(folder, monkeypatch):
    """Root reads everything, so the refusal is made here."""

    def refuse(path: str, *_: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr("predictor.preloaded.os.open", refuse)

    with pytest.raises(StartupError, match=r"cat\.jpg: Permission denied"):
        preload(folder, LIMIT, always)


def test_a_folder_over_the_bound_is_refused_and_one_at_it_is_taken(folder):
    """The bound is on the files' bytes together; nothing is read before."""
    total = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())

    os.close(preload(folder, total, always))
    with pytest.raises(
        StartupError, match=rf"3 images of {total} bytes.*{total - 1} \(preload_max"
    ):
        preload(folder, total - 1, always)


def test_more_than_there_is_memory_for_is_refused(folder, monkeypatch):
    """At the start, rather than by a kill."""
    monkeypatch.setattr("predictor.slab.memory_available", lambda: 100)

    with pytest.raises(StartupError, match=r"millrace-preloaded needs \d+ bytes of memory, 100"):
        preload(folder, LIMIT, always)


@pytest.mark.parametrize("size", [1, 1000])
def test_a_file_that_changes_while_it_is_read_is_refused(folder, monkeypatch, size):
    """Shorter or longer than it was when room was made for it."""
    found = preloaded.image_files(folder)
    monkeypatch.setattr(preloaded, "image_files", lambda _: found)
    (folder / "cat.jpg").write_bytes(b"x" * size)

    with pytest.raises(StartupError, match=r"'cat\.jpg' changed while it was read"):
        preload(folder, LIMIT, always)


def test_a_start_that_is_given_up_reads_no_further(folder):
    """The pod may have been told to stop; no descriptor is left."""
    before = len(list(Path("/proc/self/fd").iterdir()))

    with pytest.raises(StartupError, match="told to stop"):
        preload(folder, LIMIT, lambda: False)

    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_log_says_how_much_was_read_and_how_long_it_took(folder, caplog):
    """A line at the start and one at the end."""
    with caplog.at_level(logging.INFO):
        os.close(preload(folder, LIMIT, always))

    first, last = [record.getMessage() for record in caplog.records]
    assert first == f"preloading 3 images of 209 bytes from {folder}"
    assert last.startswith("preloaded 3 images, 209 bytes, in ")
    assert last.endswith(" s")
