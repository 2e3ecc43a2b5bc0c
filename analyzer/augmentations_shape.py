"""Augmentations that move pixels: rotation, flip, warp."""

from __future__ import annotations

import cv2
import numpy as np

from predictor.types import Pixels

MOST_DEGREES = 45.0
FLIPPED_OVER = 0.5  # intensity from which a flip is upside down
BEND = 0.12  # of the shorter side
BEND_POINTS = 5  # of the field, along each side


def rotation(picture: Pixels, intensity: float, chance: np.random.Generator) -> Pixels:
    """Turned about its middle; what comes into view at the corners is its mirror image."""
    height, width = picture.shape[:2]
    angle = MOST_DEGREES * intensity * chance.choice((-1.0, 1.0))
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    turned = cv2.warpAffine(
        picture, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(turned, np.uint8)


def flip(picture: Pixels, intensity: float, _chance: np.random.Generator) -> Pixels:
    """Mirrored, and from the middle on upside down: the one that most networks never saw."""
    return np.ascontiguousarray(picture[:, ::-1] if intensity < FLIPPED_OVER else picture[::-1])


def warp(picture: Pixels, intensity: float, chance: np.random.Generator) -> Pixels:
    """Bent like rubber."""
    height, width = picture.shape[:2]
    coarse = chance.uniform(-1, 1, (BEND_POINTS, BEND_POINTS, 2)).astype(np.float32)
    field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    field = field.reshape(height, width, 2) * np.float32(BEND * intensity * min(height, width))
    x = np.arange(width, dtype=np.float32) + field[:, :, 0]
    y = np.arange(height, dtype=np.float32)[:, np.newaxis] + field[:, :, 1]
    bent = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(bent, np.uint8)
