"""The decoder against Pillow's plain way, and against files that mean harm."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model_store.package import ImageInput, OriginalInput, Resize
from model_store.reference import reference_pixels
from predictor.decode import decode, decode_whole
from predictor.errors import BadImageError
from predictor.types import DecodeLimits

# The crop is resized alone rather than cut from the whole: one level of rounding in each of the
# two passes of a resize.
ROUNDING = 2

ORIGINAL = OriginalInput(name="x", layout="NCHW", dtype="float32", channels="RGB")


def target(policy: str = "shortest-side", size: int | None = 36, side: int = 32) -> ImageInput:
    """A network's input."""
    resize = Resize.model_validate(
        {"policy": policy, "size": size if policy == "shortest-side" else None}
    )
    return ImageInput(height=side, width=side, resize=resize, original=ORIGINAL)


def photo(width: int = 97, height: int = 64) -> Image.Image:
    """Smooth colours with an edge: what photos are made of."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    pixels = np.stack([x, y, 255 - x], axis=-1).astype(np.uint8)
    pixels[height // 3 : height // 2, width // 4 : width // 2] = (200, 30, 90)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """The image as a file's bytes."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def exif_rotated(orientation: int) -> bytes:
    """A JPEG that says it must be turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(photo(), "JPEG", exif=exif)


def animated_gif() -> bytes:
    """Two frames that differ."""
    frames = [photo().convert("P"), Image.new("P", (97, 64), 0)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])


def sixteen_bit_grey() -> bytes:
    """A PNG with 16 bits per pixel, brighter from left to right."""
    levels = np.tile(np.linspace(0, 65535, 97).astype(np.uint16), (64, 1))
    return encoded(Image.fromarray(levels), "PNG")


FILES = {
    "jpeg": encoded(photo(), "JPEG"),
    "progressive jpeg": encoded(photo(), "JPEG", progressive=True),
    "grey jpeg": encoded(photo().convert("L"), "JPEG"),
    "cmyk jpeg": encoded(photo().convert("CMYK"), "JPEG"),
    "png": encoded(photo(), "PNG"),
    "palette png": encoded(photo().quantize(16), "PNG"),
    "grey png": encoded(photo().convert("L"), "PNG"),
    "1-bit png": encoded(photo().convert("1"), "PNG"),
    "16-bit grey png": sixteen_bit_grey(),
    "transparent png": encoded(photo().convert("RGBA"), "PNG"),
    "webp": encoded(photo(), "WEBP"),
    "bmp": encoded(photo(), "BMP"),
    "gif": encoded(photo().quantize(64), "GIF"),
    "animated gif": animated_gif(),
    **{f"jpeg turned by EXIF {turn}": exif_rotated(turn) for turn in range(2, 9)},
    "tall": encoded(photo(33, 500), "PNG"),
    "wide": encoded(photo(500, 33), "PNG"),
    "2x2": encoded(photo(2, 2), "PNG"),
}
TARGETS = {
    "shortest-side": target(),
    "no margin": target(size=32),
    "exact": target("exact"),
    "letterbox": target("letterbox"),
    "enlarged": target(size=300, side=256),
}


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("name", FILES)
def test_every_format_decodes_as_pillow_does(name, kind):
    """Within rounding, when JPEGs are decoded in full."""
    wanted = reference_pixels(FILES[name], TARGETS[kind])

    got = decode(FILES[name], TARGETS[kind], scaled=False)

    assert got.dtype == np.uint8
    assert got.shape == TARGETS[kind].shape
    assert np.abs(got.astype(int) - wanted.astype(int)).max() <= ROUNDING


@pytest.mark.parametrize("kind", ["shortest-side", "exact", "letterbox"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_large_jpeg_decoded_at_a_fraction_stays_close(kind, orientation):
    """The mean difference is below two levels, upright or turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encoded(photo(1300, 900), "JPEG", exif=exif)
    wanted = reference_pixels(file, TARGETS[kind])

    got = decode(file, TARGETS[kind], scaled=True)

    assert np.abs(got.astype(int) - wanted.astype(int)).mean() < 2.0


@pytest.mark.parametrize("name", FILES)
def test_a_whole_image_is_what_decoding_resizes(name):
    """Of its own size, upright and RGB; resized from there it is the very same."""
    whole = decode_whole(FILES[name])

    assert whole.dtype == np.uint8
    assert whole.ndim == 3
    assert whole.shape[2] == 3
    for kind in TARGETS.values():
        assert np.array_equal(decode(whole, kind), decode(FILES[name], kind, scaled=False))
    assert decode_whole(whole) is whole


def test_pixels_of_the_right_size_are_taken_as_they_are():
    """No copy, no resampling."""
    pixels = np.asarray(photo(32, 32))

    assert decode(pixels, target()) is pixels


def test_pixels_of_another_size_are_resized_like_an_image():
    """As the same image in a lossless file."""
    pixels = np.asarray(photo())

    assert np.array_equal(decode(pixels, target()), decode(FILES["png"], target()))


def test_a_slice_of_a_body_decodes_like_the_bytes():
    """The wire hands over views, not copies."""
    body = b"head" + FILES["jpeg"] + b"tail"

    got = decode(memoryview(body)[4:-4], target())

    assert np.array_equal(got, decode(FILES["jpeg"], target()))


def png_claiming(width: int, height: int) -> bytes:
    """A PNG whose header promises a size that its few bytes of data do not hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + chunk(b"IEND", b"")
    )


HOSTILE = {
    "nothing": (b"", "empty"),
    "text": (b"I am no image", "known format"),
    "a TIFF": (encoded(photo(), "TIFF"), "known format"),
    "truncated JPEG": (FILES["jpeg"][: len(FILES["jpeg"]) // 2], "cannot be decoded"),
    "truncated PNG": (FILES["png"][: len(FILES["png"]) // 2], "cannot be decoded"),
    "truncated WebP": (FILES["webp"][: len(FILES["webp"]) // 2], "decoded|known format"),
    "JPEG header alone": (FILES["jpeg"][:20], "decoded|known format"),
    "bomb": (png_claiming(20_000, 20_000), "limit is 50000000"),
    "1x1": (encoded(photo(1, 1), "PNG"), "at least 2"),
    "1x500": (encoded(photo(1, 500), "PNG"), "at least 2"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_a_bad_image_with_a_reason(name):
    """Never another exception, never a wrong answer."""
    data, words = HOSTILE[name]

    with pytest.raises(BadImageError, match=words):
        decode(data, target())
    with pytest.raises(BadImageError, match=words):
        decode_whole(data)


def test_an_image_over_the_limit_is_refused_before_it_is_decoded():
    """On its header: 400 million pixels cost no memory."""
    limits = DecodeLimits(max_pixels=1000, min_side=2)

    with pytest.raises(BadImageError, match="97x64 = 6208 pixels"):
        decode(FILES["jpeg"], target(), limits)


@given(
    name=st.sampled_from(["jpeg", "png", "webp", "bmp", "gif", "cmyk jpeg", "palette png"]),
    place=st.floats(0, 1),
    noise=st.binary(min_size=1, max_size=16),
)
@settings(max_examples=150, deadline=None)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow remarks on what we break
def test_bytes_changed_anywhere_give_pixels_or_a_bad_image(name, place, noise):
    """A file damaged in any place costs that image alone."""
    data = bytearray(FILES[name])
    at = int(place * len(data))
    data[at : at + len(noise)] = noise

    try:
        pixels = decode(bytes(data), target())
    except BadImageError:
        return
    assert pixels.shape == (32, 32, 3)
