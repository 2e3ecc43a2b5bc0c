"""``gate.yaml``: what a model must prove before it gets traffic; docs/gate.md explains it."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pydantic
import yaml
from pydantic import Field

from analyzer.errors import GateError
from model_store.plain_yaml import strict_load

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Section(pydantic.BaseModel):
    """Base of all parts: a misspelt rule is an error and not a rule that is never judged."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DatasetRule(Section):
    """A rule that is judged on each dataset of the analysis, or on those named here."""

    datasets: Annotated[tuple[str, ...], Field(min_length=1)] | None = None


class ShareAtLeast(DatasetRule):
    """A share of images."""

    at_least: Share


class ShareAtMost(DatasetRule):
    """A share of images, or an error between 0 and 1."""

    at_most: Share


class RecallAtLeast(ShareAtLeast):
    """The recall of every class that has at least ``least_images``; others are not judged."""

    least_images: Count = 1


class DropAtMost(ShareAtMost):
    """How much top-1 accuracy augmentations cost, over all of them or by the worst of them."""

    of: Literal["mean", "worst"] = "mean"


class NoFindings(DatasetRule):
    """What the checks of the data may not have found: this, or worse."""

    severity: Literal["warning", "error"] = "error"


class BatchRule(Section):
    """A rule on batches of one size; on each device that was measured, or on the one named."""

    device: str | None = None


class LatencyAtMost(BatchRule):
    """Seconds that 99 of 100 batches may take."""

    batch_size: Count
    at_most_s: Positive


class ThroughputAtLeast(BatchRule):
    """Images per second in batches of this size, or of the best one that was measured."""

    at_least: Positive
    batch_size: Count | None = None


class SizeAtMost(Section):
    """Bytes of the model's file; also as ``50MB`` or ``48MiB``."""

    at_most: pydantic.ByteSize


class Worse(DatasetRule):
    """By how much the candidate may be worse than the champion."""

    worse_by_at_most: Share


class RecallWorse(Worse):
    """The same for every class that has at least ``least_images``; others are not judged."""

    least_images: Count = 1


class DropWorse(Worse):
    """The same for what augmentations cost."""

    of: Literal["mean", "worst"] = "mean"


class LatencyRatio(BatchRule):
    """The candidate's over the champion's."""

    batch_size: Count
    ratio_at_most: Positive


class ThroughputRatio(BatchRule):
    """The candidate's over the champion's."""

    ratio_at_least: Positive
    batch_size: Count | None = None


class SizeRatio(Section):
    """The candidate's over the champion's."""

    ratio_at_most: Positive


class Absolute(Section):
    """Rules that a model keeps by itself."""

    top1: ShareAtLeast | None = None
    top5: ShareAtLeast | None = None
    class_recall: RecallAtLeast | None = None
    ece: ShareAtMost | None = None
    robustness_drop: DropAtMost | None = None
    # Always judged: a model that answers only what it likes would do well in all the others.
    unanswered: ShareAtMost = ShareAtMost(at_most=0.01)
    # Always judged: images of classes that a model lacks are left out of all figures.
    unknown_class: ShareAtMost = ShareAtMost(at_most=0.01)
    data_findings: NoFindings | None = None
    p99: tuple[LatencyAtMost, ...] = ()
    throughput: tuple[ThroughputAtLeast, ...] = ()
    size: SizeAtMost | None = None


class Relative(Section):
    """Rules between a candidate and the champion, both measured in the same analysis."""

    if_no_champion: Literal["fail", "pass"] = "fail"
    top1: Worse | None = None
    class_recall: RecallWorse | None = None
    ece: Worse | None = None
    robustness_drop: DropWorse | None = None
    p99: tuple[LatencyRatio, ...] = ()
    throughput: tuple[ThroughputRatio, ...] = ()
    size: SizeRatio | None = None


class Rules(Section):
    """All of the file."""

    absolute: Absolute = Absolute()
    relative: Relative = Relative()

    @pydantic.model_validator(mode="after")
    def _not_empty(self) -> Rules:
        given = self.absolute.model_fields_set | self.relative.model_fields_set
        if not given - {"if_no_champion"}:
            raise ValueError("it has no rules; write at least one under absolute or relative")
        return self


@dataclass(frozen=True, slots=True)
class Gate:
    """Rules and the name of the file that they stand in."""

    file: str
    rules: Rules


def read_gate(path: Path) -> Gate:
    """The gate in ``path``.

    Raises:
        GateError: naming the file, the rule and what is wrong with it.
    """
    try:
        content = strict_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise GateError(f"{path}: no such gate") from None
    except OSError as error:
        raise GateError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise GateError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    try:
        return Gate(path.name, Rules.model_validate({} if content is None else content))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise GateError(f"{path}: {where + ': ' if where else ''}{said}") from error


def schema_text() -> str:
    """JSON schema of the file, as it stands in docs/gate.schema.json."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(schema | Rules.model_json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
