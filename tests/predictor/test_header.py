"""What a file's first bytes say, against what Pillow makes and against bytes that mean harm."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from predictor.header import MOST_SEGMENTS, Header, describe
from tests.predictor.test_decode import FILES, encoded, photo, sixteen_bit_grey

WIDTH, HEIGHT = 97, 64  # of ``photo``


def noisy(mode: str = "RGB") -> Image.Image:
    """An image that no encoder makes small."""
    pixels = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def with_exif(size: int, **options: object) -> bytes:
    """A JPEG with so many bytes of EXIF before its frame, a thumbnail say."""
    exif = Image.Exif()
    exif[0x010E] = "x" * size
    return encoded(photo(), "JPEG", exif=exif, **options)


def comments(*sizes: int) -> bytes:
    """A JPEG with comments of these sizes before its frame."""
    file = encoded(photo(), "JPEG")
    segments = b"".join(b"\xff\xfe" + struct.pack(">H", size + 2) + b"c" * size for size in sizes)
    return file[:2] + segments + file[2:]


MADE = {
    "jpeg": (encoded(photo(), "JPEG"), "jpeg"),
    "jpeg, optimised": (encoded(photo(), "JPEG", optimize=True), "jpeg"),
    "grey jpeg": (encoded(photo().convert("L"), "JPEG"), "jpeg"),
    "cmyk jpeg": (encoded(photo().convert("CMYK"), "JPEG"), "jpeg"),
    "jpeg without subsampling": (encoded(photo(), "JPEG", subsampling=0), "jpeg"),
    "jpeg with restart markers": (encoded(photo(), "JPEG", restart_marker_rows=1), "jpeg"),
    "progressive jpeg": (encoded(photo(), "JPEG", progressive=True), "progressive"),
    "jpeg with EXIF": (with_exif(20_000), "jpeg"),
    "progressive jpeg with EXIF": (with_exif(20_000, progressive=True), "progressive"),
    "jpeg with a colour profile": (encoded(photo(), "JPEG", icc_profile=b"p" * 150_000), "jpeg"),
    "jpeg with comments": (comments(0, 1, 65_533, 12), "jpeg"),
    "jpeg with fill bytes": (
        encoded(photo(), "JPEG").replace(b"\xff\xc0", b"\xff\xff\xff\xc0", 1),
        "jpeg",
    ),
    "png": (encoded(photo(), "PNG"), "png"),
    "16-bit png": (sixteen_bit_grey(), "png"),
    "palette png": (encoded(photo().quantize(16), "PNG"), "png"),
    "transparent png": (encoded(photo().convert("RGBA"), "PNG"), "png"),
    "lossy webp": (encoded(noisy(), "WEBP"), "webp"),
    "lossless webp": (encoded(noisy(), "WEBP", lossless=True), "webp"),
    "extended webp": (encoded(noisy("RGBA"), "WEBP", exif=b"Exif\0\0MM\0*"), "webp"),
    "animated webp": (
        encoded(noisy(), "WEBP", save_all=True, append_images=[photo()]),
        "webp",
    ),
    "gif": (encoded(photo().quantize(64), "GIF"), "gif"),
    "bmp": (encoded(photo(), "BMP"), "bmp"),
    "grey bmp": (encoded(photo().convert("L"), "BMP"), "bmp"),
}


@pytest.mark.parametrize("name", MADE)
def test_every_format_says_its_kind_and_size(name):
    """As Pillow reads them, before orientation is looked at."""
    file, kind = MADE[name]

    assert describe(file) == Header(kind, WIDTH, HEIGHT)
    assert describe(memoryview(file)) == Header(kind, WIDTH, HEIGHT)


def test_the_webps_are_of_all_three_kinds():
    """Or the test above would test less than it says."""
    kinds = {name: file[12:16] for name, (file, kind) in MADE.items() if kind == "webp"}

    assert kinds == {
        "lossy webp": b"VP8 ",
        "lossless webp": b"VP8L",
        "extended webp": b"VP8X",
        "animated webp": b"VP8X",
    }


@pytest.mark.parametrize("name", FILES)
def test_whatever_the_decoder_takes_is_described_as_pillow_sees_it(name):
    """So that no image that is served has a cost that cannot be predicted."""
    with Image.open(io.BytesIO(FILES[name])) as image:
        size = image.size

    found = describe(FILES[name])

    assert found is not None
    assert (found.width, found.height) == size


def test_a_bmp_stored_from_the_top_has_its_height():
    """It is written as a negative number there."""
    file = bytearray(encoded(photo(), "BMP"))
    file[22:26] = struct.pack("<i", -HEIGHT)

    assert describe(bytes(file)) == Header("bmp", WIDTH, HEIGHT)


def test_an_old_bmp_has_short_sides():
    """A header of 12 bytes, as OS/2 wrote it."""
    file = b"BM" + struct.pack("<IHHIIHHHH", 100, 0, 0, 26, 12, WIDTH, HEIGHT, 1, 24)

    assert describe(file + b"\0" * 20) == Header("bmp", WIDTH, HEIGHT)


def test_a_jpeg_with_more_segments_than_any_camera_writes_is_not_described():
    """It is not searched for ever."""
    assert describe(comments(*[3] * (MOST_SEGMENTS + 1))) is None


@pytest.mark.parametrize("name", MADE)
def test_a_file_cut_anywhere_says_the_same_or_nothing(name):
    """Never something else, never an exception."""
    file, kind = MADE[name]
    said = {describe(file[:length]) for length in range(min(len(file), 700))}

    assert said <= {None, Header(kind, WIDTH, HEIGHT)}


@given(
    st.sampled_from([b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF", b""]),
    st.binary(max_size=300),
)
def test_hostile_bytes_never_raise(magic, rest):
    """Whatever follows a magic number; and sizes are never negative."""
    found = describe(magic + rest)

    assert found is None or min(found.width, found.height) >= 0


@given(st.sampled_from(sorted(MADE)), st.data())
def test_a_damaged_file_never_raises(name, data):
    """A few bytes of the header are others."""
    file = bytearray(MADE[name][0])
    for _ in range(data.draw(st.integers(1, 5))):
        file[data.draw(st.integers(0, min(len(file), 800) - 1))] = data.draw(st.integers(0, 255))

    found = describe(bytes(file))

    assert found is None or min(found.width, found.height) >= 0


@pytest.mark.parametrize("filling", [b"\xff", b"\xff\x00", b"\xff\xd8", b"\xff\xfe\x00\x00"])
def test_a_jpeg_of_nothing_but_markers_ends(filling):
    """Megabytes of fill bytes, stuffing, starts, or segments of no length."""
    assert describe(b"\xff\xd8" + filling * 1_000_000) is None
