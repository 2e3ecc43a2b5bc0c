"""Augmentations of weather: snow, rain, fog.

Snow and fog after Hendrycks and Dietterich's ImageNet-C (arXiv:1903.12261): flakes are noise that
is thresholded and smeared by the wind, fog is a fractal; rain is sparse points made streaks.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from predictor.types import Pixels

Layer = NDArray[np.float32]  # (h, w), 0 to 1

SNOW_AREA = 0.08
FLAKES = (1 / 150, 1 / 70, 1 / 35)  # their sizes, of the shorter side
SNOW_GROUND = 0.35  # how far the rest is whitened
RAIN_AREA = 0.08
STREAK, STREAK_WIDTH = 1 / 10, 1 / 220  # of the shorter side
MOST_SLANT = 20.0  # degrees
DUSK = 0.35
RAIN_LEVEL, FOG_LEVEL = 225.0, 215.0
FOG_LEAST, FOG_MOST = 0.5, 0.9
OCTAVES = 6


def snow(picture: Pixels, intensity: float, chance: np.random.Generator) -> Pixels:
    """Flakes of three sizes in one wind, over ground that whitens."""
    height, width = picture.shape[:2]
    angle = chance.uniform(45, 135)
    flakes = np.zeros((height, width), np.float32)
    for size in FLAKES:
        pixels = max(1.0, size * min(height, width))
        share = SNOW_AREA * intensity / len(FLAKES)
        points = _points(height, width, pixels, share, chance)
        np.maximum(flakes, _smeared(points, 2.5 * pixels, angle), out=flakes)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).reshape(height, width, 1)
    whiter = np.maximum(picture, np.minimum(grey * np.float32(1.5) + 127, 255))
    ground = picture + np.float32(SNOW_GROUND * intensity) * (whiter - picture)
    return _over(ground, flakes, 255.0)


def rain(picture: Pixels, intensity: float, chance: np.random.Generator) -> Pixels:
    """Streaks of one slant, in the light of a wet day."""
    height, width = picture.shape[:2]
    angle = 90 + chance.uniform(-MOST_SLANT, MOST_SLANT)
    pixels = max(1.0, STREAK_WIDTH * min(height, width))
    length = max(5.0, STREAK * min(height, width))
    drops = _points(height, width, pixels, RAIN_AREA * intensity / length * pixels, chance)
    streaks = np.minimum(_smeared(drops, length, angle) * np.float32(length / pixels), 1)
    dusk = picture * np.float32(1 - DUSK * intensity)
    return _over(dusk, streaks * np.float32(0.6), RAIN_LEVEL)


def fog(picture: Pixels, intensity: float, chance: np.random.Generator) -> Pixels:
    """In banks, as a fractal has them."""
    height, width = picture.shape[:2]
    banks = np.zeros((height, width), np.float32)
    for octave in range(OCTAVES):
        cells = 2**octave + 2
        coarse = chance.random((cells, cells), np.float32)
        banks += _resized(coarse, width, height, cv2.INTER_CUBIC) / np.float32(2**octave)
    least, most = float(banks.min()), float(banks.max())
    banks = (banks - np.float32(least)) / np.float32(max(most - least, 1e-6))
    hidden = np.float32(intensity) * (FOG_LEAST + (FOG_MOST - FOG_LEAST) * banks)
    return _over(picture.astype(np.float32), hidden.astype(np.float32), FOG_LEVEL)


def _points(
    height: int, width: int, pixels: float, share: float, chance: np.random.Generator
) -> Layer:
    """Points about ``pixels`` large on a ``share`` of the area.

    Those of a smaller share are among them.
    """
    rows, columns = max(1, round(height / pixels)), max(1, round(width / pixels))
    there = (chance.random((rows, columns), np.float32) < share).astype(np.float32)
    return _resized(there, width, height, cv2.INTER_LINEAR)


def _smeared(layer: Layer, length: float, angle: float) -> Layer:
    """Along a line of ``length`` pixels at ``angle`` degrees, 90 being downwards."""
    side = max(1, round(length)) | 1
    line = np.zeros((side, side), np.float32)
    middle = (side - 1) / 2
    reach = np.array((np.cos(np.radians(angle)), np.sin(np.radians(angle)))) * middle
    ends = [(round(middle + s * reach[0]), round(middle + s * reach[1])) for s in (-1, 1)]
    cv2.line(line, ends[0], ends[1], 1.0, 1, cv2.LINE_AA)
    smeared = cv2.filter2D(layer, -1, line / max(float(line.sum()), 1e-6))
    return np.asarray(smeared, np.float32)


def _resized(layer: Layer, width: int, height: int, how: int) -> Layer:
    return np.asarray(cv2.resize(layer, (width, height), interpolation=how), np.float32)


def _over(ground: NDArray[np.float32], layer: Layer, level: float) -> Pixels:
    """``level`` (0 to 255) over ``ground`` (h, w, 3), as thick as ``layer`` says."""
    thick = layer[:, :, np.newaxis]
    mixed = ground + thick * (np.float32(level) - ground)
    return np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)
