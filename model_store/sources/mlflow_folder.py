"""A folder that MLflow wrote for a model (``MLmodel``): where the network lies in it.

Nothing in it is unpickled, and none of the code beside it is imported.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from model_store.errors import SourceError, one_line
from model_store.plain_yaml import safe_load
from model_store.request import check_path

MLMODEL = "MLmodel"
# Of the pytorch flavor, below its ``model_data``: an exported program, or a pickled module.
_PROGRAM, _PICKLED = "model.pt2", "model.pth"


def network_in(folder: Path) -> tuple[str, Path]:
    """The flavor and the file of the network in an MLflow model.

    Raises:
        SourceError: it has no such flavor, leads outside its folder, or is pickled.
    """
    flavors = _flavors(folder / MLMODEL)
    if "onnx" in flavors:
        return "onnx", _inside(folder, flavors["onnx"].get("data", "model.onnx"))
    if "pytorch" not in flavors:
        raise SourceError(
            f"{folder}: this MLflow model has no onnx or pytorch flavor, only "
            f"{', '.join(flavors) or 'none'}; log it with mlflow.onnx or mlflow.pytorch"
        )
    data = _inside(folder, flavors["pytorch"].get("model_data", "data"))
    if (data / _PROGRAM).is_file():
        return "pytorch", data / _PROGRAM
    what = "is a pickled module" if (data / _PICKLED).exists() else f"holds no {_PROGRAM}"
    raise SourceError(
        f"{data}: {what}, and unpickling runs code; log it with mlflow.pytorch.log_model(…, "
        'serialization_format="pt2", input_example=…) and two images in the example, or package '
        "module:factory --checkpoint FILE"
    )


def _flavors(file: Path) -> dict[str, dict[str, Any]]:
    try:
        content = safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SourceError(f"{file}: cannot be read: {one_line(error)}") from error
    flavors = content.get("flavors") if isinstance(content, dict) else None
    if not isinstance(flavors, dict) or not all(isinstance(f, dict) for f in flavors.values()):
        raise SourceError(f"{file}: is damaged: it lists no flavors")
    return {str(name): flavor for name, flavor in flavors.items()}


def _inside(folder: Path, path: object) -> Path:
    target = folder / str(path)
    check_path(target)
    if not target.resolve().is_relative_to(folder.resolve()):
        raise SourceError(f"{folder / MLMODEL}: {str(path)!r} leads outside the model's folder")
    if not target.exists():
        raise SourceError(f"{target}: missing, though {MLMODEL} names it")
    return target
