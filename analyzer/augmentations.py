"""What may befall an image between the world and the server, in grades: 17 augmentations.

Each is a pure function of the picture, an intensity in (0, 1] and a stream of chance that belongs
to the image's name and the augmentation. The intensity is no part of it: the same drops fall
thicker, the same field bends further. Sizes are in terms of the picture's shorter side, so that
thumbnails and photos are harmed alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analyzer import augmentations_detail as detail
from analyzer import augmentations_light as light
from analyzer import augmentations_shape as shape
from analyzer import augmentations_weather as weather
from predictor.types import Pixels

VERSION = 1  # of all of them together: it is to change whenever their pixels do
Apply = Callable[[Pixels, float, np.random.Generator], Pixels]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """One of them. ``meaning`` says in a line what intensity i does; docs show it."""

    name: str
    meaning: str
    apply: Apply


_ALL = (
    Augmentation("rotation", "turned by i x 45°, left or right; corners mirrored", shape.rotation),
    Augmentation("flip", "left and right swapped; from i = 0.5 on upside down instead", shape.flip),
    Augmentation(
        "warp", "bent by a smooth field of up to i x 12 % of the shorter side", shape.warp
    ),
    Augmentation("contrast", "i x 85 % of the distance to mean grey taken away", light.contrast),
    Augmentation("brightness", "i x 120 levels added", light.brightness),
    Augmentation("exposure", "i x 2.5 stops over or under, in linear light", light.exposure),
    Augmentation("gamma", "raised to the power of 1 + 1.5i: darker in the middle", light.gamma),
    Augmentation(
        "colour temperature",
        "white moved from 6,500 K towards 2,200 K or 25,000 K, i of the way in mired",
        light.temperature,
    ),
    Augmentation("blur", "Gaussian, sigma 0.4 pixels and i x 2 % of the shorter side", detail.blur),
    Augmentation(
        "noise",
        "Gaussian, sigma i x 40 levels, each channel by itself, grains 1/256 of the shorter side",
        detail.noise,
    ),
    Augmentation(
        "snow",
        "flakes of i x 8 % of the area, smeared by wind; ground whitened by i x 35 %",
        weather.snow,
    ),
    Augmentation(
        "rain", "slanting streaks over i x 8 % of the area, light less by i x 35 %", weather.rain
    ),
    Augmentation("fog", "i x 50 % to i x 90 % hidden behind uneven light grey", weather.fog),
    Augmentation("pixelate", "blocks of 1 + i x 1.8 % of the shorter side", detail.pixelate),
    Augmentation(
        "vignette", "corners darkened by i x 100 %, the middle not at all", light.vignette
    ),
    Augmentation(
        "jpeg quality",
        "saved as a JPEG of quality from 95, by equal ratios, to 8 at i = 1",
        detail.jpeg,
    ),
    Augmentation("blend", "i x 50 % of itself, turned by 180°, over it", detail.blend),
)
AUGMENTATIONS = {each.name: each for each in _ALL}


def augment(picture: Pixels, augmentation: str, intensity: float, image: str) -> Pixels:
    """Do one augmentation to a picture.

    Args:
        picture: uint8 (h, w, 3) RGB, sides of at most 32,767.
        augmentation: a name in ``AUGMENTATIONS``.
        intensity: in (0, 1].
        image: its name: what chance is drawn by.

    Returns:
        uint8 (h, w, 3); the same for the same arguments, in any process.

    Raises:
        ValueError: the intensity is none.
    """
    if not 0 < intensity <= 1:
        raise ValueError(f"intensity {intensity} is not in (0, 1]")
    if picture.size == 0:
        return picture
    key = f"{augmentation}\0{image}".encode("utf-8", "surrogateescape")
    seed = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")
    # The generator by its name: the default one may be another some day.
    chance = np.random.Generator(np.random.PCG64(seed))
    return AUGMENTATIONS[augmentation].apply(np.ascontiguousarray(picture), intensity, chance)
