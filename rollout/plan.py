"""``plan.yaml``: by which steps a candidate gets the requests; docs/rollout.md explains it."""

from __future__ import annotations

import json
import string
import sys
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import Field

from model_store.plain_yaml import strict_load
from rollout.errors import PlanError

Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, le=7 * 24 * 3600)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
_KNOWN = {"name", "version"}  # of a storage template


class Section(pydantic.BaseModel):
    """Base of all parts: a misspelt limit is an error and not a limit that is never judged."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ImagesAtLeast(Section):
    """A share of the images of a dataset, which is named as ``millrace analyze`` names it."""

    dataset: Annotated[str, Field(min_length=1)]
    at_least: Share


class ShareAtLeast(Section):
    """A share of images."""

    at_least: Share


class ShareAtMost(Section):
    """A share of the candidate's requests."""

    at_most: Share


class P99(Section):
    """Seconds of the answers to 99 of 100 requests, and those over the stable version's."""

    at_most_s: Positive | None = None
    ratio_at_most: Positive | None = None

    @pydantic.model_validator(mode="after")
    def _not_empty(self) -> P99:
        if self.at_most_s is None and self.ratio_at_most is None:
            raise ValueError("write at_most_s, ratio_at_most or both")
        return self


class Dark(Section):
    """The dark launch: the candidate starts, gets no requests, and is asked about known images."""

    timeout_s: Seconds = 600.0
    golden: ImagesAtLeast | None = None


class Step(Section):
    """So many percent of the requests, for so long and for so many requests at least."""

    percent: Annotated[int, Field(ge=1, le=100)]
    hold_s: Seconds = 60.0
    least_requests: Count = 400  # fewer than 368 bound no p99


class Limits(Section):
    """What holds in every step."""

    errors: ShareAtMost | None = ShareAtMost(at_most=0.01)
    rejected: ShareAtMost | None = ShareAtMost(at_most=0.05)
    p99: P99 | None = P99(ratio_at_most=3.0)
    golden: ShareAtLeast | None = None  # on the dark launch's dataset

    @pydantic.model_validator(mode="after")
    def _judges(self) -> Limits:
        if self.errors is None and self.rejected is None and self.p99 is None:
            raise ValueError("keep at least one of errors, rejected and p99")
        return self


class Plan(Section):
    """All of the file. What is not written there is as here.

    Attributes:
        dark: the dark launch.
        shadow: the same images to both versions; None for none.
        steps: rising shares.
        limits: what each step must keep.
        share_tolerance: by how much the share that the candidate really gets may differ from the
            one that was set, as a share of all requests; never by more than half of what was set.
        failure_limit: so many looks at which a limit was surely missed are borne in each step.
        inconclusive_limit: so many times a step, or the dark or shadow phase, is held on because
            nothing was proven.
        on_inconclusive: what then follows.
        interval_s: seconds between looks.
        blind_timeout_s: how long the cluster or its metrics may be out of sight before all
            requests go back; None for ever.
        storage: where pods on a cluster load the candidate from, with ``{name}`` and
            ``{version}``; None: where the stable version is, with the candidate's number.
    """

    dark: Dark = Dark()
    shadow: ImagesAtLeast | None = None
    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=50)] = (
        Step(percent=5),
        Step(percent=25),
        Step(percent=50),
        Step(percent=100),
    )
    limits: Limits = Limits()
    share_tolerance: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    failure_limit: Annotated[int, Field(ge=0)] = 0
    inconclusive_limit: Annotated[int, Field(ge=0)] = 3
    on_inconclusive: Literal["abort", "pause"] = "abort"
    interval_s: Annotated[float, Field(gt=0, le=60)] = 10.0
    blind_timeout_s: Positive | None = 600.0
    storage: str | None = None

    @pydantic.field_validator("steps")
    @classmethod
    def _rises(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        for before, after in pairwise(steps):
            if after.percent <= before.percent:
                raise ValueError(f"{after.percent} % after {before.percent} %: shares must rise")
        return steps

    @pydantic.field_validator("storage")
    @classmethod
    def _template(cls, storage: str | None) -> str | None:
        if storage is None:
            return None
        try:
            names = {
                name for _, name, _, _ in string.Formatter().parse(storage) if name is not None
            }
        except ValueError as error:
            raise ValueError(f"{storage!r} is no template: {error}") from None
        if not names <= _KNOWN or "version" not in names:
            raise ValueError(f"{storage!r} must hold {{version}}, may hold {{name}}, nothing else")
        return storage

    @pydantic.model_validator(mode="after")
    def _golden_has_images(self) -> Plan:
        if self.limits.golden is not None and self.dark.golden is None:
            raise ValueError("limits.golden asks about the images of dark.golden: write that too")
        return self


def read_plan(path: Path) -> Plan:
    """The plan in ``path``.

    Raises:
        PlanError: naming the file, the line, the field and what is wrong with it.
    """
    try:
        return parse_plan(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise PlanError(f"{path}: no such plan") from None
    except OSError as error:
        raise PlanError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PlanError(f"{path}: is not YAML: {error}") from error


def parse_plan(text: str, source: str = "plan") -> Plan:
    """The plan that ``text`` is; ``source`` is what errors call it.

    Raises:
        PlanError: as ``read_plan``.
    """
    try:
        content = strict_load(text)
    except yaml.YAMLError as error:
        raise PlanError(f"{source}: is not YAML: {' '.join(str(error).split())}") from error
    try:
        return Plan.model_validate({} if content is None else content)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        line = _line(text, first["loc"])
        raise PlanError(f"{source}:{line}: {where + ': ' if where else ''}{said}") from error


def _line(text: str, path: tuple[int | str, ...]) -> int:
    """The line, from 1, of what an error is about: as deep as the file goes."""
    node: Any = yaml.compose(text, yaml.SafeLoader)
    line = 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            pairs = [pair for pair in node.value if pair[0].value == str(part)]
            if not pairs:
                break
            line, node = pairs[0][0].start_mark.line + 1, pairs[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def schema_text() -> str:
    """JSON schema of the file, as it stands in docs/plan.schema.json."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(schema | Plan.model_json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
