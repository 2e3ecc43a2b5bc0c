"""Augmentations of light and colour: contrast, brightness, exposure, gamma, temperature, vignette.

Most are one table of 256 values, looked up for each pixel.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageEnhance

from predictor.types import Pixels

CONTRAST_LOST = 0.85
LEVELS_ADDED = 120
STOPS = 2.5
POWER_ADDED = 1.5
NEUTRAL_K, WARMEST_K, COOLEST_K = 6504.0, 2200.0, 25000.0  # the first is D65's, sRGB's white
MIRED = 1e6  # mired = 1e6 / kelvin: equal steps of it look equal
_LEVELS = np.arange(256) / 255
# XYZ to linear sRGB (IEC 61966-2-1).
_TO_RGB = np.array(
    ((3.2406, -1.5372, -0.4986), (-0.9689, 1.8758, 0.0415), (0.0557, -0.2040, 1.0570))
)


def contrast(picture: Pixels, intensity: float, _chance: np.random.Generator) -> Pixels:
    """Towards the picture's mean grey."""
    image = PillowImage.fromarray(picture)
    return np.array(ImageEnhance.Contrast(image).enhance(1 - CONTRAST_LOST * intensity))


def brightness(picture: Pixels, intensity: float, _chance: np.random.Generator) -> Pixels:
    """The same added to every level."""
    return _looked_up(picture, _LEVELS + LEVELS_ADDED / 255 * intensity)


def exposure(picture: Pixels, intensity: float, chance: np.random.Generator) -> Pixels:
    """As if the shutter had been open for too long, or not for long enough."""
    stops = STOPS * intensity * chance.choice((-1.0, 1.0))
    return _looked_up(picture, _encoded(_linear(_LEVELS) * 2.0**stops))


def gamma(picture: Pixels, intensity: float, _chance: np.random.Generator) -> Pixels:
    """As on a screen that is set wrong."""
    return _looked_up(picture, _LEVELS ** (1 + POWER_ADDED * intensity))


def temperature(picture: Pixels, intensity: float, chance: np.random.Generator) -> Pixels:
    """As if white had been set for daylight, under lamps or under a blue sky."""
    extreme = chance.choice((WARMEST_K, COOLEST_K))
    mired = MIRED / NEUTRAL_K + intensity * (MIRED / extreme - MIRED / NEUTRAL_K)
    gains = _white(MIRED / mired) / _white(NEUTRAL_K)
    return _looked_up(picture, _encoded(_linear(_LEVELS)[:, np.newaxis] * gains))


def vignette(picture: Pixels, intensity: float, _chance: np.random.Generator) -> Pixels:
    """Darker by the square of the distance from the middle."""
    height, width = picture.shape[:2]
    y = np.linspace(-1, 1, height, dtype=np.float32) if height > 1 else np.zeros(1, np.float32)
    x = np.linspace(-1, 1, width, dtype=np.float32) if width > 1 else np.zeros(1, np.float32)
    left = 1 - np.float32(intensity / 2) * (y[:, np.newaxis] ** 2 + x**2)
    return np.rint(picture * left[:, :, np.newaxis]).astype(np.uint8)


def _looked_up(picture: Pixels, table: NDArray[np.float64]) -> Pixels:
    """``table``: (256,) or (256, 3), 0 to 1."""
    levels = np.rint(np.clip(table, 0, 1) * 255).astype(np.uint8)
    return np.asarray(cv2.LUT(picture, levels.reshape(1, 256, -1)), np.uint8)


def _linear(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Levels of sRGB to light (IEC 61966-2-1)."""
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def _encoded(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """And back."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def _white(kelvin: float) -> NDArray[np.float64]:
    """Linear sRGB (3,) of a black body of luminance 1, from 1,667 K on.

    Kim et al.'s splines of the Planckian locus (US patent 7,024,034).
    """
    t = 1000 / kelvin
    if kelvin <= 4000:
        x = ((-0.2661239 * t - 0.2343589) * t + 0.8776956) * t + 0.179910
    else:
        x = ((-3.0258469 * t + 2.1070379) * t + 0.2226347) * t + 0.240390
    if kelvin <= 2222:
        y = ((-1.1063814 * x - 1.34811020) * x + 2.18555832) * x - 0.20219683
    elif kelvin <= 4000:
        y = ((-0.9549476 * x - 1.37418593) * x + 2.09137015) * x - 0.16748867
    else:
        y = ((3.0817580 * x - 5.87338670) * x + 3.75112997) * x - 0.37001483
    rgb: NDArray[np.float64] = _TO_RGB @ np.array((x / y, 1.0, (1 - x - y) / y))
    return np.maximum(rgb, 0)
