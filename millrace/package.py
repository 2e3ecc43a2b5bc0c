"""``millrace package``: a network and its labels become a model package in the store."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import click
import yaml
from rich.console import Console
from rich.progress import Progress as ProgressBar

from model_store.errors import SourceError
from model_store.package import ModelPackage, Precision, Resize, Triple, Variant
from model_store.registry.reference import names_registry

_PATH_KEYS = ("labels", "parity_images", "calibration_images", "held_out_images", "store")
_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")


def _number(value: object) -> float:
    """0.00392 or 1/255."""
    try:
        return float(Fraction(str(value).strip()))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise click.BadParameter(f"{value!r} is no number such as 0.0039 or 1/255") from None


def _per_channel(value: object) -> Triple:
    """Three numbers a,b,c, or one for all three."""
    parts = list(value) if isinstance(value, (list, tuple)) else str(value).split(",")
    numbers = [_number(part) for part in parts]
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != len("abc"):
        raise click.BadParameter(f"{value!r} has {len(numbers)} numbers; one or three expected")
    return (numbers[0], numbers[1], numbers[2])


def _size(value: object) -> tuple[int, int]:
    """224, or HEIGHTxWIDTH."""
    match = re.fullmatch(r"([1-9]\d{0,3})(?:x([1-9]\d{0,3}))?", str(value).strip())
    if match is None:
        raise click.BadParameter(f"{value!r} is no size such as 224 or 192x256 (height x width)")
    return int(match[1]), int(match[2] or match[1])


def _resize(value: object) -> Resize:
    """shortest-side:256, exact or letterbox."""
    match = re.fullmatch(r"shortest-side:([1-9]\d{0,3})|exact|letterbox", str(value).strip())
    if match is None:
        raise click.BadParameter(f"{value!r} is not shortest-side:SIZE, exact or letterbox")
    if match[1] is None:
        return Resize.model_validate({"policy": match[0]})
    return Resize(policy="shortest-side", size=int(match[1]))


def _variants(value: object) -> tuple[Precision, ...]:
    """fp32,fp16,int8."""
    parts = list(value) if isinstance(value, (list, tuple)) else str(value).split(",")
    named = [str(part).strip() for part in parts]
    unknown = [each for each in named if each not in _PRECISIONS]
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(_PRECISIONS)}")
    return tuple(each for each in _PRECISIONS if each in named)


def _read_config(ctx: click.Context, _param: click.Parameter, file: Path | None) -> Path | None:
    """Let the keys of a YAML file stand for the flags that are not given."""
    if file is None:
        return None
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SourceError(f"{file}: cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise SourceError(f"{file}: must hold `flag: value` lines, such as `name: resnet`")
    values = {str(key).replace("-", "_"): value for key, value in content.items()}
    known = {param.name for param in ctx.command.params if isinstance(param, click.Option)} - {
        "config",
        "as_json",
    }
    unknown = sorted(set(values) - known)
    if unknown:
        keys = ", ".join(sorted(name.replace("_", "-") for name in known if name))
        raise SourceError(f"{file}: unknown key {unknown[0].replace('_', '-')!r}; known: {keys}")
    for key in _PATH_KEYS:
        if key in values:
            values[key] = str(file.parent / str(values[key]))
    ctx.default_map = {**(ctx.default_map or {}), **values}
    return file


@click.command("package")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="Name of the model, as in URLs.")
@click.option(
    "--labels",
    required=True,
    type=click.Path(path_type=Path),
    help="One label per line; line number = class index.",
)
@click.option(
    "--parity-images",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A few real images: they prove that packaging changed no answer, and some of them "
    "become the golden set that is checked before the model serves.",
)
@click.option(
    "--input-size",
    type=_size,
    metavar="SIZE",
    help="224 or HEIGHTxWIDTH.  [default: the network's]",
)
@click.option(
    "--resize",
    type=_resize,
    metavar="POLICY",
    default="exact",
    show_default=True,
    help="shortest-side:SIZE (then the centre is cut), exact or letterbox.",
)
@click.option(
    "--crop", type=_size, metavar="SIZE", help="Cut from the centre.  [default: the input size]"
)
@click.option(
    "--interpolation",
    type=click.Choice(["nearest", "bilinear", "bicubic", "lanczos"]),
    default="bilinear",
    show_default=True,
)
@click.option(
    "--channels",
    type=click.Choice(["RGB", "BGR"]),
    default="RGB",
    show_default=True,
    help="Order in which the network takes the colours.",
)
@click.option(
    "--scale",
    type=_number,
    metavar="NUMBER",
    default="1",
    show_default=True,
    help="The network sees (pixel * scale - mean) / std with pixels 0..255; 1/255 is understood.",
)
@click.option(
    "--mean",
    type=_per_channel,
    metavar="A,B,C",
    default="0",
    show_default=True,
    help="In the order of --channels.",
)
@click.option(
    "--std",
    type=_per_channel,
    metavar="A,B,C",
    default="1",
    show_default=True,
    help="In the order of --channels.",
)
@click.option(
    "--class-offset",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Outputs at the front that are no classes: class = output index - offset.",
)
@click.option(
    "--scores",
    type=click.Choice(["logits", "probabilities"]),
    default="logits",
    show_default=True,
    help="What the network's outputs are.",
)
@click.option("--top-k", type=click.IntRange(min=1), help="Classes in an answer.  [default: 5]")
@click.option(
    "--layout",
    type=click.Choice(["NCHW", "NHWC"]),
    help="Only where the network's input shape does not tell.",
)
@click.option("--output", metavar="NAME", help="Only where the network has several outputs.")
@click.option(
    "--variants",
    type=_variants,
    metavar="LIST",
    default=(),
    help="Precisions to have, of fp32,fp16,int8; the network's own is always there.  "
    "[default: the network's own]",
)
@click.option(
    "--calibration-images",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Typical images, a hundred or so, to quantise and to prove variants with.",
)
@click.option(
    "--held-out-images",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Other typical images that variants are proven on.  [default: half of the calibration "
    "images, which are not calibrated on then]",
)
@click.option(
    "--least-agreement",
    type=click.FloatRange(0, 1),
    default=0.97,
    show_default=True,
    help="Share of held-out images on which a variant must name the same class as the network's "
    "own precision; one that does not is refused.",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    default="var/store",
    envvar="MILLRACE_STORE",
    show_default=True,
    show_envvar=True,
    help="Folder of model packages.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_read_config,
    help="YAML file with these flags as keys; paths in it start at the file; flags win.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    store: Path,
    as_json: bool,
    resize: Resize,
    interpolation: str,
    **settings: Any,
) -> None:
    """Make a model package of the ONNX network SOURCE and put it into the store.

    The package's graph takes plain uint8 images and gives the best classes. It is refused unless
    it answers as the original network does on the parity images. Faster variants of it are made
    on demand, and refused unless they agree with it on images that they were not made with.
    """
    # onnx and onnxruntime take half a second to import: only this command pays.
    from model_store.packaging import package
    from model_store.request import PackageRequest

    settings["source"] = _local(settings["source"])
    request = PackageRequest(
        resize=resize.model_copy(update={"interpolation": interpolation}), **settings
    )
    with _progress() as progress:
        made = package(request, store, progress)
    click.echo(json.dumps(_as_json(made)) if as_json else _summary(made))


def _local(source: Path) -> Path:
    """SOURCE as a path; an MLflow model is fetched from its registry first."""
    if not names_registry(str(source)):
        return source
    from model_store.registry.fetch import fetch_model_folder

    return fetch_model_folder(str(source))


@contextmanager
def _progress() -> Iterator[Any]:
    console = Console(stderr=True)
    with ProgressBar(console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done)

        yield report


def _as_json(made: ModelPackage) -> dict[str, object]:
    manifest = made.manifest
    return {
        "name": made.name,
        "version": made.version,
        "path": str(made.path),
        "classes": manifest.classes,
        "top_k": manifest.top_k,
        "accuracy_bound": manifest.accuracy_bound,
        "variants": [
            variant.model_dump(mode="json", exclude_none=True) for variant in manifest.variants
        ],
        "parity": manifest.parity.model_dump(mode="json"),
        "golden": [golden.model_dump(mode="json") for golden in manifest.golden],
    }


def _summary(made: ModelPackage) -> str:
    parity, resize = made.manifest.parity, made.manifest.input.resize
    size = f":{resize.size}" if resize.size else ""
    batches = " and ".join(str(size) for size in parity.batch_sizes)
    lines = [
        f"{made.name} version {made.version}: {made.path}",
        f"  input    {made.manifest.input.height}x{made.manifest.input.width} RGB, "
        f"{resize.policy}{size}, {resize.interpolation}",
        f"  classes  {made.manifest.classes}",
        f"  parity   {parity.images} images, batches of {batches}: top-1 agreement "
        f"{parity.top1_agreement:.1%}, largest score difference "
        f"{parity.max_score_difference:.1e} (allowed {parity.tolerance:g})",
        f"  golden   {len(made.manifest.golden)} images",
    ]
    lines += [
        f"           {golden.file}: {made.labels[golden.indices[0]]} {golden.scores[0]:.2f}"
        for golden in made.manifest.golden
    ]
    lines += [line for variant in made.manifest.variants[1:] for line in _of_variant(variant)]
    return "\n".join(lines)


def _of_variant(variant: Variant) -> list[str]:
    proof = variant.proof
    if proof is None:
        return [f"  {variant.precision}"]
    speeds = ", ".join(
        f"{times:.2f} times in batches of {size}"
        for size, times in proof.measured.times_the_first.items()
    )
    lines = [f"  {variant.precision:<8} held out: {proof.held_out}"]
    if variant.calibration is not None:
        kind = variant.calibration.quantisation
        lines.append(
            f"           calibrated on {variant.calibration.images} other images: {kind.method}, "
            f"{kind.activations} activations, {kind.operators} operators"
        )
    lines.append(f"           speed here, {proof.measured.threads} thread: {speeds}")
    return lines
