"""Encoded bytes or pixels of any size → the network's input: uint8 (H, W, 3) RGB.

The reference is Pillow's: full decode, upright by EXIF, RGB, antialiased resize of the whole
image, centre crop. Two things are done faster here:

- only the part of the resized image that survives the crop is computed (``resize`` with ``box``);
  rounding moves a value by at most one level;
- with ``scaled=True`` a JPEG at least twice as large as needed is decoded at 1/2, 1/4 or 1/8 by
  the inverse transform itself (``draft``). Pixels then differ by a few levels; tests and
  ``benchmarks/RESULTS.md`` show that answers do not.

Pillow releases the interpreter lock while it decodes and resizes, so threads decode in parallel.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError

from model_store.package import ImageInput
from predictor.errors import BadImageError
from predictor.types import DecodeLimits, Image, Pixels

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
EXIF_ORIENTATION = 0x0112
FILTERS = {
    "nearest": PillowImage.Resampling.NEAREST,
    "bilinear": PillowImage.Resampling.BILINEAR,
    "bicubic": PillowImage.Resampling.BICUBIC,
    "lanczos": PillowImage.Resampling.LANCZOS,
}
DEFAULT_LIMITS = DecodeLimits(max_pixels=50_000_000, min_side=2)

# Pillow's own guard only warns up to twice its limit; ours refuses, on the header, before decoding.
PillowImage.MAX_IMAGE_PIXELS = None


def decode(
    image: Image,
    target: ImageInput,
    limits: DecodeLimits = DEFAULT_LIMITS,
    *,
    scaled: bool = True,
) -> Pixels:
    """Prepare one image for the network that takes ``target``.

    Args:
        image: an encoded file (JPEG, PNG, WebP, BMP, first frame of a GIF), or uint8 (h, w, 3).
        target: the size wanted and how to get there.
        limits: bounds on the image's own size.
        scaled: let large JPEGs be decoded at a fraction of their size.

    Returns:
        uint8 (target.height, target.width, 3), RGB. May be read-only.

    Raises:
        BadImageError: broken, truncated, too large, too small or of an unknown format.
    """
    if isinstance(image, np.ndarray):
        _check_size(image.shape[1], image.shape[0], limits)
        if image.shape == target.shape:
            return image
        return np.asarray(_fit(PillowImage.fromarray(image, "RGB"), target))
    if len(image) == 0:
        raise BadImageError("the image is empty (zero bytes)")
    try:
        with PillowImage.open(io.BytesIO(image), formats=FORMATS) as opened:
            _check_size(opened.width, opened.height, limits)
            return np.asarray(_fit(_upright_rgb(opened, target, scaled), target))
    except BadImageError:
        raise
    except UnidentifiedImageError:
        raise BadImageError(f"not an image in a known format ({', '.join(FORMATS)})") from None
    # A decoder on hostile bytes raises whatever it likes (SyntaxError, struct.error, KeyError, …);
    # all of it means the same: this image is broken.
    except Exception as error:
        raise BadImageError(f"the image cannot be decoded: {error}") from error


def _check_size(width: int, height: int, limits: DecodeLimits) -> None:
    if min(width, height) < limits.min_side:
        raise BadImageError(
            f"the image is {width}x{height}; each side must be at least {limits.min_side} pixels"
        )
    if width * height > limits.max_pixels:
        raise BadImageError(
            f"the image is {width}x{height} = {width * height} pixels; "
            f"the limit is {limits.max_pixels}"
        )


def _upright_rgb(image: PillowImage.Image, target: ImageInput, scaled: bool) -> PillowImage.Image:
    if scaled and image.format in ("JPEG", "MPO"):
        side = target.resize.size
        # Never below what the resize needs: draft picks the largest scale that keeps this size.
        # Upright and rotated images must both fit, hence the longer side twice.
        longest = max(target.height, target.width)
        least = (side, side) if side is not None else (longest, longest)
        image.draft(None, least)
    if image.getexif().get(EXIF_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16"):  # 16-bit grey: Pillow's convert would clip, not scale
        levels = np.asarray(image).astype(np.uint16) >> 8
        image = PillowImage.fromarray(levels.astype(np.uint8), "L")
    return image.convert("RGB")


def _fit(image: PillowImage.Image, target: ImageInput) -> PillowImage.Image:
    width, height = image.size
    resize = target.resize
    chosen = FILTERS[resize.interpolation]
    if resize.policy == "exact":
        if image.size == (target.width, target.height):
            return image
        return image.resize((target.width, target.height), chosen)
    if resize.policy == "letterbox":
        scale = min(target.width / width, target.height / height)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        padded = PillowImage.new("RGB", (target.width, target.height), resize.fill)
        corner = ((target.width - inner[0]) // 2, (target.height - inner[1]) // 2)
        padded.paste(image.resize(inner, chosen), corner)
        return padded
    return image.resize((target.width, target.height), chosen, box=_crop_box(image.size, target))


def _crop_box(size: tuple[int, int], target: ImageInput) -> tuple[float, float, float, float]:
    """The centre crop of the image resized by its shortest side, in the image's own pixels."""
    width, height = size
    side = target.resize.size
    if side is None:
        raise ValueError("shortest-side needs a size")
    if width <= height:
        resized_width, resized_height = side, int(side * height / width)
    else:
        resized_width, resized_height = int(side * width / height), side
    left = round((resized_width - target.width) / 2.0)
    top = round((resized_height - target.height) / 2.0)
    x, y = width / resized_width, height / resized_height
    right = min((left + target.width) * x, width)  # min: rounding must not step outside
    bottom = min((top + target.height) * y, height)
    return (left * x, top * y, right, bottom)
