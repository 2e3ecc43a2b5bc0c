"""What ``millrace package`` prints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import Progress as ProgressBar

from model_store.package import ImageInput, Measured, ModelPackage, Variant
from model_store.plan import Plan


@contextmanager
def progress() -> Iterator[Any]:
    """Bars on a terminal, one for each thing that takes a while; nothing elsewhere."""
    console = Console(stderr=True)
    with ProgressBar(console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done)

        yield report


def as_json(made: ModelPackage) -> dict[str, object]:
    """A package for scripts."""
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


def summary(made: ModelPackage) -> str:
    """A package for people: what it takes, how it was proven, what its variants are worth."""
    parity = made.manifest.parity
    batches = " and ".join(str(size) for size in parity.batch_sizes)
    lines = [
        f"{made.name} version {made.version}: {made.path}",
        f"  input    {_of_input(made.manifest.input)}",
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
    first, *others = made.manifest.variants
    if first.measured is not None:
        lines += [f"  {_named(first):<8} {_of_speed(first.measured)}"]
    lines += [line for variant in others for line in _of_variant(variant)]
    return "\n".join(lines)


def _of_variant(variant: Variant) -> list[str]:
    proof = variant.proof
    if proof is None:
        return [f"  {_named(variant)}"]
    lines = [f"  {_named(variant):<8} held out: {proof.held_out}"]
    if variant.calibration is not None:
        kind = variant.calibration.quantisation
        lines.append(
            f"           calibrated on {variant.calibration.images} other images: {kind.method}, "
            f"{kind.activations} activations, {kind.operators} operators"
            + f", the first {kind.first_in_float} layers in float"
            * bool(kind.first_in_float)
        )
    measured = proof.measured
    times = ", ".join(
        f"{times:.2f} times in batches of {size}"
        for size, times in measured.times_the_first.items()
    )
    lines += [f"           {_of_speed(measured)}", f"           beside the first: {times}"]
    return lines


def _of_speed(measured: Measured) -> str:
    rates = ", ".join(
        f"{rate:,.1f} images/s in batches of {size}"
        for size, rate in measured.images_per_second.items()
    )
    return f"speed here, {measured.threads} thread: {rates}"


def _named(variant: Variant) -> str:
    own = variant.file == f"{variant.precision}.onnx"
    return variant.precision if own else variant.file


def _of_input(image: ImageInput) -> str:
    resize = image.resize
    size = f":{resize.size}" if resize.size else ""
    return f"{image.height}x{image.width} RGB, {resize.policy}{size}, {resize.interpolation}"


def plan_as_json(planned: Plan) -> dict[str, object]:
    """What would be made, for scripts."""
    examined = planned.examined
    return {
        "dry_run": True,
        "name": planned.request.name,
        "version": planned.path.name,
        "path": str(planned.path),
        "source": examined.source.located.name,
        "source_kind": examined.source.located.kind,
        "source_flavor": examined.source.located.flavor or None,
        "source_sha256": examined.source.digest,
        "input": examined.image.model_dump(mode="json"),
        "classes": len(examined.labels),
        "top_k": examined.top_k,
        "variants": list(planned.variants),
        "images": {
            "parity": len(examined.images),
            "calibration": planned.calibration,
            "held_out": planned.held_out,
        },
    }


def plan_summary(planned: Plan) -> str:
    """What would be made, for people."""
    examined = planned.examined
    original = examined.image.original
    lines = [
        f"{planned.request.name} version {planned.path.name} would be made: {planned.path}",
        f"  source   {examined.source.located.name}: {examined.source.located}",
        f"  input    {_of_input(examined.image)}; the network takes {original.channels} "
        f"{original.layout} {original.dtype}",
        f"  classes  {len(examined.labels)}, the best {examined.top_k} in an answer",
        f"  variants {', '.join(planned.variants)}",
        f"  images   {len(examined.images)} for parity",
    ]
    if len(planned.variants) > 1:
        lines[-1] += f", {planned.calibration} to make variants with, {planned.held_out} held out"
    return "\n".join([*lines, "nothing was written (--dry-run)"])
