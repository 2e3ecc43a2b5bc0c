"""Reference preprocessing: what every faster decoder must agree with."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from model_store.errors import SourceError
from model_store.package import ImageInput, OriginalInput, Resize
from model_store.reference import reference_pixels, sample_images, shortest_side

ORIGINAL = OriginalInput(name="x", layout="NCHW", dtype="float32", channels="RGB")


def target(height: int, width: int, policy: str = "exact", **resize: object) -> ImageInput:
    """An input of this size."""
    chosen = Resize.model_validate({"policy": policy, **resize})
    return ImageInput(height=height, width=width, resize=chosen, original=ORIGINAL)


def encoded(picture: Image.Image, form: str = "PNG", **options: object) -> bytes:
    """The picture as a file."""
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def gradient(width: int, height: int) -> Image.Image:
    """A picture in which every place has its own colour."""
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 4, y * 4, x + y], axis=-1).astype(np.uint8))


def test_image_of_the_right_size_is_kept_as_it_is():
    """No resampling where none is needed."""
    picture = gradient(8, 6)
    assert (reference_pixels(encoded(picture), target(6, 8)) == np.asarray(picture)).all()


def test_shortest_side_then_centre_crop():
    """48x24 at shortest side 12 is 24x12; the centre 10x10 is cut from it."""
    picture = gradient(48, 24)
    scaled = np.asarray(picture.resize((24, 12), Image.Resampling.BILINEAR))
    cut = reference_pixels(encoded(picture), target(10, 10, "shortest-side", size=12))
    assert (cut == scaled[1:11, 7:17]).all()


def test_letterbox_pads_evenly_with_fill():
    """20x10 into 8x8: the picture is 8x4 in the middle, the rest is fill."""
    pixels = reference_pixels(
        encoded(Image.new("RGB", (20, 10), (200, 0, 0))), target(8, 8, "letterbox", fill=(1, 2, 3))
    )
    assert (pixels[2:6] == (200, 0, 0)).all()
    assert (pixels[[0, 1, 6, 7]] == (1, 2, 3)).all()


def test_exif_rotation_is_undone():
    """A camera held upright (orientation 6) gives an upright picture."""
    picture = gradient(8, 4)
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = reference_pixels(encoded(picture, exif=exif), target(8, 4))
    assert (pixels == np.rot90(np.asarray(picture), -1)).all()


def test_sixteen_bit_grey_is_scaled_not_clipped():
    """The upper byte counts."""
    deep = np.array([[0, 255, 256, 0x80FF], [0xFFFF, 0x1234, 0x7F00, 0x0100]], np.uint16)
    pixels = reference_pixels(encoded(Image.fromarray(deep)), target(2, 4))
    assert (pixels[..., 0] == deep >> 8).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_every_colour_mode_becomes_rgb(mode):
    """A plain red survives as what Pillow's conversion makes of it."""
    picture = Image.new("RGB", (4, 4), (255, 0, 0)).convert(mode)
    form = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    pixels = reference_pixels(encoded(picture, form), target(4, 4))
    assert pixels.shape == (4, 4, 3)
    assert pixels.dtype == np.uint8


def test_palette_with_transparency_warns_about_nothing():
    """Warnings are errors here, and Pillow warns about palettes with alpha."""
    picture = gradient(8, 8).convert("P")
    pixels = reference_pixels(encoded(picture, transparency=b"\x00\x80\xff"), target(8, 8))
    assert (pixels == np.asarray(picture.convert("RGB"))).all()


def test_first_frame_of_a_gif_is_used():
    """Later frames do not matter."""
    red, blue = (Image.new("RGB", (4, 4), colour) for colour in ("red", "blue"))
    gif = encoded(red, "GIF", save_all=True, append_images=[blue])
    assert (reference_pixels(gif, target(4, 4)) == (255, 0, 0)).all()


@pytest.mark.parametrize("content", [b"", b"text", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_refused(content):
    """Empty, text, and headers without an image."""
    with pytest.raises(SourceError, match="cannot be decoded"):
        reference_pixels(content, target(4, 4))


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 512))
def test_shortest_side_keeps_the_aspect_ratio(width, height, side):
    """The shorter side is exact, the longer at most one pixel short of the true ratio."""
    new = shortest_side((width, height), side)
    assert min(new) == side
    assert 0 <= max(new) - side <= side * max(width, height) / min(width, height) - side
    assert max(new) > side * max(width, height) / min(width, height) - 1 - 1e-6


def test_sample_is_spread_bounded_and_always_the_same(tmp_path):
    """Two hundred images in folders: 64, first and last among them; other files are ignored."""
    for number in range(200):
        folder = tmp_path / f"{number % 2}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number:03}.JPG").touch()
    (tmp_path / "labels.csv").touch()
    sample = sample_images(tmp_path)
    assert len(sample) == len(set(sample)) == 64
    assert (sample[0].name, sample[-1].name) == ("000.JPG", "199.JPG")
    assert sample == sample_images(tmp_path)
