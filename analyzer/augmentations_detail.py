"""Augmentations of what is fine: blur, noise, pixelate, JPEG quality, blend."""

from __future__ import annotations

import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from predictor.types import Pixels

BLUR = 0.02  # sigma at most, of the shorter side
FINEST_BLUR, LEAST_BLUR = 0.4, 0.6  # pixels: below the first there is none to be seen
NOISE_LEVELS = 40.0
GRAIN = 1 / 256  # of the shorter side; a pixel at least
BLOCK = 0.018  # of the shorter side: 4 pixels of 224, the coarsest that ImageNet-C has
LEAST_BLOCK = 1.0  # pixels, that blocks grow by
BEST_QUALITY, WORST_QUALITY = 95, 8  # equal steps between them look equal in ratio
BLENDED = 0.5


def blur(picture: Pixels, intensity: float, _chance: np.random.Generator) -> Pixels:
    """Out of focus."""
    sigma = FINEST_BLUR + intensity * max(LEAST_BLUR, BLUR * min(picture.shape[:2]))
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)


def noise(picture: Pixels, intensity: float, chance: np.random.Generator) -> Pixels:
    """Of a sensor in the dark."""
    height, width = picture.shape[:2]
    pixels = max(1.0, GRAIN * min(height, width))
    cells = max(1, round(height / pixels)), max(1, round(width / pixels)), 3
    coarse = chance.standard_normal(cells, np.float32)
    grain = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    grain = grain.reshape(picture.shape)
    # Between grains it is smoother than they are: its spread is brought back to theirs.
    spread = NOISE_LEVELS * intensity * float(coarse.std()) / max(float(grain.std()), 1e-6)
    noisy = picture + grain * np.float32(spread)
    return np.asarray(np.rint(np.clip(noisy, 0, 255)), np.uint8)


def pixelate(picture: Pixels, intensity: float, _chance: np.random.Generator) -> Pixels:
    """In blocks of their mean colour."""
    block = 1 + intensity * max(LEAST_BLOCK, BLOCK * min(picture.shape[:2]))
    rows, columns = (_edges(side, block) for side in picture.shape[:2])
    tall, wide = np.diff(rows), np.diff(columns)
    sums = np.add.reduceat(picture.astype(np.float32), rows[:-1], axis=0)
    sums = np.add.reduceat(sums, columns[:-1], axis=1)
    means = np.rint(sums / (tall[:, np.newaxis] * wide)[:, :, np.newaxis]).astype(np.uint8)
    return np.repeat(np.repeat(means, tall, axis=0), wide, axis=1)


def _edges(side: int, block: float) -> NDArray[np.int64]:
    """Where blocks begin along a side, and where the last one ends; whole pixels, rising."""
    inside = np.rint(np.arange(block, side, block)).astype(np.int64)
    return np.unique(np.concatenate(([0], inside, [side])))


def jpeg(picture: Pixels, intensity: float, _chance: np.random.Generator) -> Pixels:
    """Through a real JPEG, colours at half the resolution."""
    stream = io.BytesIO()
    quality = round(BEST_QUALITY * (WORST_QUALITY / BEST_QUALITY) ** intensity)
    PillowImage.fromarray(picture).save(stream, "JPEG", quality=quality, subsampling="4:2:0")
    with PillowImage.open(stream) as saved:
        return np.array(saved)


def blend(picture: Pixels, intensity: float, _chance: np.random.Generator) -> Pixels:
    """As behind a pane of glass. Itself, so that no other class comes into it."""
    ghost = np.ascontiguousarray(picture[::-1, ::-1])
    share = BLENDED * intensity
    return np.asarray(cv2.addWeighted(picture, 1 - share, ghost, share, 0), np.uint8)
