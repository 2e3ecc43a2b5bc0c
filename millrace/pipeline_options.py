"""What ``millrace pipeline run`` and ``submit`` are told: the pipeline's parameters, as flags."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click
import yaml

from model_store.plain_yaml import safe_load
from pipelines.errors import PipelineError
from pipelines.steps.place import Where, where

Command = TypeVar("Command", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)

OPTIONS = (
    click.argument("source"),
    click.option("--name", required=True, help="Name of the model in the registry."),
    click.option("--labels", required=True, help="File with one label a line."),
    click.option("--parity-images", required=True, help="Folder of a few real images."),
    click.option(
        "--dataset",
        "datasets",
        multiple=True,
        required=True,
        help="What candidate and champion are measured on; NAME=… names it. Repeat it.",
    ),
    click.option(
        "--package-config",
        type=_FILE,
        help="YAML file with more of how SOURCE is packaged: keys of millrace package --config.",
    ),
    click.option("--gate", type=_FILE, help="gate.yaml.  [default: hardly worse than champion]"),
    click.option("--plan", type=_FILE, help="plan.yaml.  [default: as docs/rollout.md says]"),
    click.option("--champion", default="", help="Compared with.  [default: models:/NAME@champion]"),
    click.option("--registry", metavar="URI", default="", help="MLflow tracking URI."),
    click.option("--publish-to", default="", help="Folder that pods load versions from."),
    click.option("--device", default="auto", show_default=True, help="Where models are measured."),
    click.option("--robustness", is_flag=True, help="Measure with rain, blur, noise, … as well."),
)


PLACE = (
    click.option("--service", default="", help="InferenceService to roll out to."),
    click.option("--namespace", default="", help="Of the InferenceService."),
    click.option("--prometheus", metavar="URL", default="", help="That counts its requests."),
    click.option("--prometheus-token-file", default="", help="A bearer token for it."),
    click.option("--route-host", "host", default="", help="Of a route that has to be made."),
    click.option("--gateway", metavar="NAMESPACE/NAME", default="", help="Of a new route."),
    click.option("--gateway-address", metavar="URL", default="", help="Where no name resolves."),
    click.option(
        "--keep-name",
        is_flag=True,
        help="Promote by replacing the stable version's pods, which keep their names.",
    ),
    click.option("--pod", metavar="URL", default="", help="Pod to roll out to instead."),
    click.option("--pod-store", default="", help="Folder in which that pod finds its packages."),
    click.option("--repository-token-file", default="", help="The token of that pod's repository."),
)
_PLACE_KEYS = {field.name for field in fields(Where)}


def with_options(command: Command) -> Command:
    """Give a command all of these flags."""
    for option in reversed((*OPTIONS, *PLACE)):
        command = option(command)
    return command


def arguments(
    datasets: tuple[str, ...],
    package_config: Path | None,
    gate: Path | None,
    plan: Path | None,
    **given: Any,
) -> dict[str, Any]:
    """The pipeline's parameters.

    Raises:
        PipelineError: a file cannot be read, or the place is none.
    """
    place = {
        key: "true" if value is True else value
        for key, value in given.items()
        if key in _PLACE_KEYS and value
    }
    where(place)  # before it is sent anywhere
    return {key: value for key, value in given.items() if key not in _PLACE_KEYS} | {
        "place": place,
        "datasets": list(datasets),
        "packaging": _mapping(package_config) if package_config else {},
        "gate": _text(gate) if gate else "",
        "plan": _text(plan) if plan else "",
    }


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"{file}: cannot be read: {error}") from error


def _mapping(file: Path) -> dict[str, Any]:
    try:
        content = safe_load(_text(file))
    except yaml.YAMLError as error:
        raise PipelineError(f"{file}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise PipelineError(f"{file}: must hold `key: value` lines, such as `scale: 1/255`")
    return content
