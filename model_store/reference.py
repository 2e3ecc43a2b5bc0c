"""The oracle: the original network with reference preprocessing, plain and slow.

Pillow scales the whole image and cuts it, numpy does the arithmetic, and the user's own file runs
in ONNX Runtime. The serving path is faster and must agree with this.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from model_store.errors import SourceError
from model_store.network import Network, open_original
from model_store.package import ImageInput, OriginalInput, OriginalOutput, Resize
from model_store.session import RUNTIME_ERRORS, reason

Pixels = NDArray[np.uint8]
Scores = NDArray[np.float32]

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def reference_pixels(encoded: bytes, image: ImageInput) -> Pixels:
    """Decode and fit one image the way everybody's Pillow script does.

    Returns:
        uint8 (height, width, 3), RGB.

    Raises:
        SourceError: when Pillow cannot decode it.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            upright = _rgb(ImageOps.exif_transpose(opened))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SourceError(f"cannot be decoded: {reason(error)}") from error
    return np.asarray(_fit(upright, image))


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16"):
        # Pillow's own conversion clips at 255, which turns most 16-bit scans white.
        deep = np.asarray(picture).astype(np.uint16)
        return Image.fromarray((deep >> 8).astype(np.uint8)).convert("RGB")
    if "transparency" in picture.info:
        # Straight to RGB gives the same colours, but warns about palettes with alpha.
        picture = picture.convert("RGBA")
    return picture.convert("RGB")


def _fit(picture: Image.Image, image: ImageInput) -> Image.Image:
    resize, size = image.resize, (image.width, image.height)
    resample = FILTERS[resize.interpolation]
    if resize.policy == "exact":
        return picture.resize(size, resample)
    if resize.policy == "letterbox":
        return _letterbox(picture, resize, size)
    picture = picture.resize(shortest_side(picture.size, resize.size or 0), resample)
    # torchvision.transforms.functional.center_crop
    left = round((picture.width - image.width) / 2.0)
    top = round((picture.height - image.height) / 2.0)
    return picture.crop((left, top, left + image.width, top + image.height))


def shortest_side(size: tuple[int, int], target: int) -> tuple[int, int]:
    """(width, height) with the shorter side ``target``, as torchvision's ``Resize(int)`` does."""
    width, height = size
    if width <= height:
        return target, int(target * height / width)
    return int(target * width / height), target


def _letterbox(picture: Image.Image, resize: Resize, size: tuple[int, int]) -> Image.Image:
    scale = min(size[0] / picture.width, size[1] / picture.height)
    width = max(1, round(picture.width * scale))
    height = max(1, round(picture.height * scale))
    inner = picture.resize((width, height), FILTERS[resize.interpolation])
    canvas = Image.new("RGB", size, resize.fill)
    canvas.paste(inner, ((size[0] - width) // 2, (size[1] - height) // 2))
    return canvas


def network_input(pixels: Pixels, original: OriginalInput) -> np.ndarray:
    """What the original network expects for images (N, H, W, 3) uint8 RGB, by plain numpy."""
    ordered = pixels[..., ::-1] if original.channels == "BGR" else pixels
    if original.layout == "NCHW":
        ordered = ordered.transpose(0, 3, 1, 2)
    if original.dtype == "uint8":
        return np.ascontiguousarray(ordered)
    shape = (3, 1, 1) if original.layout == "NCHW" else (3,)
    mean = np.array(original.mean, dtype=np.float32).reshape(shape)
    std = np.array(original.std, dtype=np.float32).reshape(shape)
    normal = (ordered.astype(np.float32) * np.float32(original.scale) - mean) / std
    return np.ascontiguousarray(normal.astype(original.dtype))


class OriginalNetwork:
    """The user's file itself in ONNX Runtime, one image at a time."""

    def __init__(self, network: Network, original: OriginalInput) -> None:
        self._path: Path = network.path
        self._session = open_original(network.path)
        self._original = original
        self._batch = network.fixed_batch or 1

    def outputs(self, pixels: Pixels, output_name: str) -> NDArray[np.float32]:
        """The named output for one image (H, W, 3), with its own trailing shape, as float32.

        Raises:
            SourceError: when the network does not run, or gives no batch of numbers.
        """
        batch = np.repeat(network_input(pixels[np.newaxis], self._original), self._batch, axis=0)
        try:
            (given,) = self._session.run([output_name], {self._original.name: batch})
        except RUNTIME_ERRORS as error:
            raise SourceError(f"{self._path}: does not run: {reason(error)}") from error
        if not isinstance(given, np.ndarray) or given.dtype.kind != "f":
            raise SourceError(
                f"{self._path}: output {output_name!r} is {getattr(given, 'dtype', type(given))}; "
                "floating-point scores are needed"
            )
        if given.ndim == 0 or given.shape[0] != self._batch:
            raise SourceError(
                f"{self._path}: output {output_name!r} has shape {given.shape}; its first "
                "dimension must be the batch"
            )
        first: NDArray[np.float32] = given[0].astype(np.float32)
        return first


def class_scores(raw: Scores, output: OriginalOutput) -> Scores:
    """Scores per class, (..., classes), from its outputs (..., offset + classes)."""
    if output.scores == "logits":
        shifted = np.exp(raw - raw.max(axis=-1, keepdims=True))
        raw = shifted / shifted.sum(axis=-1, keepdims=True)
    scores: Scores = raw[..., output.class_offset :]
    return scores


def answer(scores: Scores, top_k: int) -> tuple[NDArray[np.int64], Scores]:
    """The ``top_k`` best of ``scores`` (classes,): indices and scores, best first."""
    indices = np.argsort(-scores, kind="stable")[:top_k]
    return indices, scores[indices]
