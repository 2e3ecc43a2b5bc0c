"""The flags of ``millrace package``: their names, what they take, and what they mean.

They are the keys of its configuration file as well, and its JSON schema is made of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import click
import yaml

from millrace.options import store_option
from model_store.package import Resize, Triple
from model_store.plain_yaml import safe_load
from model_store.request import VARIANTS, VariantName

Command = TypeVar("Command", bound=Callable[..., Any])


def number(value: object) -> float:
    """0.00392 or 1/255."""
    try:
        return float(Fraction(str(value).strip()))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise click.BadParameter(f"{value!r} is no number such as 0.0039 or 1/255") from None


def per_channel(value: object) -> Triple:
    """Three numbers a,b,c, or one for all three."""
    parts = list(value) if isinstance(value, (list, tuple)) else str(value).split(",")
    numbers = [number(part) for part in parts]
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != len("abc"):
        raise click.BadParameter(f"{value!r} has {len(numbers)} numbers; one or three expected")
    return (numbers[0], numbers[1], numbers[2])


def size(value: object) -> tuple[int, int]:
    """224, or HEIGHTxWIDTH."""
    match = re.fullmatch(r"([1-9]\d{0,3})(?:x([1-9]\d{0,3}))?", str(value).strip())
    if match is None:
        raise click.BadParameter(f"{value!r} is no size such as 224 or 192x256 (height x width)")
    return int(match[1]), int(match[2] or match[1])


def resize(value: object) -> Resize:
    """shortest-side:256, exact or letterbox."""
    match = re.fullmatch(r"shortest-side:([1-9]\d{0,3})|exact|letterbox", str(value).strip())
    if match is None:
        raise click.BadParameter(f"{value!r} is not shortest-side:SIZE, exact or letterbox")
    if match[1] is None:
        return Resize.model_validate({"policy": match[0]})
    return Resize(policy="shortest-side", size=int(match[1]))


def variants(value: object) -> tuple[VariantName, ...]:
    """fp32,fp16,int8,pt2,pt2-bf16,pt2-fp16, in this order whatever order they are given in."""
    parts = list(value) if isinstance(value, (list, tuple)) else str(value).split(",")
    named = [str(part).strip() for part in parts]
    unknown = [each for each in named if each not in VARIANTS]
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(VARIANTS)}")
    return tuple(each for each in VARIANTS if each in named)


def factory_args(value: object) -> dict[str, Any]:
    """A mapping, or the text of one in YAML."""
    try:
        given = safe_load(value) if isinstance(value, str) else value
    except yaml.YAMLError as error:
        raise click.BadParameter(f"is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(given, dict) or not all(isinstance(key, str) for key in given):
        raise click.BadParameter(f"{value!r} is no YAML mapping such as {{depth: 20}}")
    return given


OPTIONS = (
    click.option("--name", required=True, help="Name of the model, as in URLs."),
    click.option(
        "--labels",
        required=True,
        type=click.Path(path_type=Path),
        help="One label per line; line number = class index.",
    ),
    click.option(
        "--checkpoint",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Weights of the network that SOURCE, a module:factory, makes: a PyTorch state dict, "
        "or a dictionary with one.",
    ),
    click.option(
        "--factory-args",
        type=factory_args,
        metavar="YAML",
        default="{}",
        help="Arguments of the factory, such as '{classes: 10}'.  [default: none]",
    ),
    click.option(
        "--parity-images",
        required=True,
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="A few real images: they prove that packaging changed no answer, and some of them "
        "become the golden set that is checked before the model serves.",
    ),
    click.option(
        "--input-size",
        type=size,
        metavar="SIZE",
        help="224 or HEIGHTxWIDTH.  [default: the network's]",
    ),
    click.option(
        "--resize",
        type=resize,
        metavar="POLICY",
        default="exact",
        show_default=True,
        help="shortest-side:SIZE (then the centre is cut), exact or letterbox.",
    ),
    click.option(
        "--crop", type=size, metavar="SIZE", help="Cut from the centre.  [default: the input size]"
    ),
    click.option(
        "--interpolation",
        type=click.Choice(["nearest", "bilinear", "bicubic", "lanczos"]),
        default="bilinear",
        show_default=True,
        help="How pixels are resized; always antialiased, as Pillow does it.",
    ),
    click.option(
        "--channels",
        type=click.Choice(["RGB", "BGR"]),
        default="RGB",
        show_default=True,
        help="Order in which the network takes the colours.",
    ),
    click.option(
        "--scale",
        type=number,
        metavar="NUMBER",
        default="1",
        show_default=True,
        help="The network sees (pixel * scale - mean) / std with pixels 0..255; 1/255 is "
        "understood.",
    ),
    click.option(
        "--mean",
        type=per_channel,
        metavar="A,B,C",
        default="0",
        show_default=True,
        help="In the order of --channels.",
    ),
    click.option(
        "--std",
        type=per_channel,
        metavar="A,B,C",
        default="1",
        show_default=True,
        help="In the order of --channels.",
    ),
    click.option(
        "--class-offset",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Outputs at the front that are no classes: class = output index - offset.",
    ),
    click.option(
        "--scores",
        type=click.Choice(["logits", "probabilities"]),
        default="logits",
        show_default=True,
        help="What the network's outputs are.",
    ),
    click.option("--top-k", type=click.IntRange(min=1), help="Classes in an answer.  [default: 5]"),
    click.option(
        "--layout",
        type=click.Choice(["NCHW", "NHWC"]),
        help="Only where the network's input shape does not tell.",
    ),
    click.option("--output", metavar="NAME", help="Only where the network has several outputs."),
    click.option(
        "--variants",
        type=variants,
        metavar="LIST",
        default=(),
        help="What to have beside the network's own precision, of fp32,fp16,int8 and, of PyTorch "
        "sources, pt2,pt2-bf16,pt2-fp16.  [default: pt2 of a PyTorch source, else nothing]",
    ),
    click.option(
        "--calibration-images",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Typical images, a hundred or so, to quantise and to prove variants with.  [default: "
        "where nothing is quantised, the parity images]",
    ),
    click.option(
        "--held-out-images",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Other typical images that variants are proven on.  [default: half of the calibration "
        "images, which are not calibrated on then]",
    ),
    click.option(
        "--least-agreement",
        type=click.FloatRange(0, 1),
        default=0.97,
        show_default=True,
        help="Share of held-out images on which a variant must name the same class as the "
        "network's own precision; one that does not is refused.",
    ),
    store_option,
)


def with_options(command: Command) -> Command:
    """Give a command all of these flags."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command
