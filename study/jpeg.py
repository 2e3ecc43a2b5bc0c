"""What a JPEG costs to decode here, on one core."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
from PIL import Image

from model_store.package import ImageInput, OriginalInput, Resize
from predictor.decode import decode
from study.errors import StudyError

# An average photo of ImageNet's and what networks trained on it take.
WIDTH, HEIGHT, QUALITY = 500, 375, 90
TARGET = ImageInput(
    height=224,
    width=224,
    resize=Resize(policy="shortest-side", size=256),
    original=OriginalInput(name="image", layout="NCHW", dtype="float32", channels="RGB"),
)
TIMES = 40


def synthetic_jpeg() -> bytes:
    """Smooth shapes and the grain of a sensor; about 110 KB."""
    random = np.random.default_rng(2)
    coarse = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    grain = random.normal(0, 14, (HEIGHT, WIDTH, 1))
    pixels = np.clip(np.asarray(smooth) + grain, 0, 255).astype(np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=QUALITY)
    return encoded.getvalue()


def measure_decode(file: Path | None) -> float:
    """Seconds to decode ``file``, or a synthetic photo, to 224 by 224; the least of 40 times.

    Raises:
        StudyError: the file cannot be read.
        PredictorError: it cannot be decoded.
    """
    try:
        encoded = synthetic_jpeg() if file is None else file.read_bytes()
    except OSError as error:
        raise StudyError(f"{file}: {error.strerror}") from error
    least = float("inf")
    for _ in range(TIMES):
        began = time.perf_counter()
        decode(encoded, TARGET)
        least = min(least, time.perf_counter() - began)
    return least
