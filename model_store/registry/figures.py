"""What is told of a registered version beside its files: tags of its figures, and its gate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model_store.errors import SourceError, one_line
from model_store.package import Manifest, Variant
from model_store.registry.promotion import FAILED
from model_store.registry.versions import GATE_TAG, TAG

PASSED = "passed"
_YES, _NO = ("true", "yes", "1", "passed"), ("false", "no", "0", "failed")


def figures(manifest: Manifest) -> dict[str, str]:
    """Tags that say what a package is worth, all texts."""
    image, parity = manifest.input, manifest.parity
    told: dict[str, object] = {
        "package": f"{manifest.name}/{manifest.version}",
        "created": manifest.provenance.created,
        "classes": manifest.classes,
        "input": f"{image.height}x{image.width}",
        "variants": ",".join(_name(each, manifest) for each in manifest.variants),
        "parity.images": parity.images,
        "parity.top1_agreement": parity.top1_agreement,
        "parity.max_score_difference": parity.max_score_difference,
        "source_sha256": manifest.provenance.source_sha256,
    }
    if manifest.accuracy_bound is not None:
        told["accuracy_bound"] = manifest.accuracy_bound
    for variant in manifest.variants:
        place = f"variant.{_name(variant, manifest)}"
        if variant.calibration is not None:
            told[f"{place}.calibration_sha256"] = variant.calibration.sha256
        if variant.proof is not None:
            held_out, measured = variant.proof.held_out, variant.proof.measured
            told[f"{place}.held_out_images"] = held_out.images
            told[f"{place}.top1_agreement"] = held_out.top1_agreement
            told[f"{place}.max_score_difference"] = held_out.max_score_difference
            told[f"{place}.times_the_first"] = max(measured.times_the_first.values(), default=0)
            told[f"{place}.measured_on"] = measured.device
    return {f"{TAG}{name}": str(value) for name, value in told.items()}


def _name(variant: Variant, manifest: Manifest) -> str:
    """As variants are asked for; the file where two of the package would have the same name."""
    name: str = variant.precision
    if variant.runtime == "torch":
        name = "pt2" if variant.precision == "fp32" else f"pt2-{variant.precision}"
    alike = [
        v
        for v in manifest.variants
        if (v.runtime, v.precision) == (variant.runtime, variant.precision)
    ]
    return name if len(alike) == 1 else variant.file


def gate_tags(given: Sequence[str]) -> dict[str, str]:
    """Tags of a gate's result: of ``KEY=VALUE`` texts, or of JSON files that hold an object.

    ``passed`` says whether it passed; without it a gate counts as passed.

    Raises:
        SourceError: a text is neither.
    """
    if not given:
        return {}
    told: dict[str, Any] = {}
    for one in given:
        key, is_pair, value = one.partition("=")
        told |= {key.strip(): value.strip()} if is_pair else _of_file(Path(one))
    passed = str(told.pop("passed", True)).lower()
    if passed not in (*_YES, *_NO):
        raise SourceError(f"gate: passed={passed} is neither true nor false")
    rest = {f"{GATE_TAG}.{key}": _text(value) for key, value in told.items()}
    return {GATE_TAG: PASSED if passed in _YES else FAILED} | rest


def _of_file(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"gate: {file}: cannot be read: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise SourceError(f"gate: {file}: must hold a JSON object")
    return content


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
