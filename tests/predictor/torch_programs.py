"""Exported programs for tests: a small network, and archives that were tampered with."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

SIZE, CLASSES, TOP_K = 16, 10, 3
LARGEST = 64

Change = Callable[[str, bytes], bytes | None]  # an entry's name and content to its new content


class ServingGraph(torch.nn.Module):
    """A small convolutional network in the shape that packaging gives one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.convolution = torch.nn.Conv2d(3, 8, 3)
        self.norm = torch.nn.BatchNorm2d(8)
        self.linear = torch.nn.Linear(8, CLASSES)
        self.register_buffer("mean", torch.tensor([120.0, 110.0, 100.0]).view(1, 3, 1, 1))

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Cast, normalise, classify, softmax in float32, top-k."""
        pixels = (image.permute(0, 3, 1, 2).float() - self.mean) / 60
        features = torch.relu(self.norm(self.convolution(pixels))).mean((2, 3))
        scores, indices = torch.softmax(self.linear(features).float(), 1).topk(TOP_K)
        return {"indices": indices, "scores": scores}


def export(file: Path, least: int | None = 1, largest: int | None = LARGEST) -> Path:
    """The network, exported for batches in this range; ``least=None``: for two images only."""
    example = torch.zeros(2, SIZE, SIZE, 3, dtype=torch.uint8)
    batch = None if least is None else torch.export.Dim("batch", min=least, max=largest)
    shapes = None if batch is None else ({0: batch},)
    exported = torch.export.export(ServingGraph().eval(), (example,), dynamic_shapes=shapes)
    torch.export.save(exported, file)
    return file


def rewritten(program: Path, to: Path, change: Change) -> Path:
    """The archive with its entries passed through ``change``; None leaves one out."""
    with zipfile.ZipFile(program) as old, zipfile.ZipFile(to, "w") as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return to


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("code was run",))


def pickled_weight(name: str, content: bytes) -> bytes:
    """A weight that would be unpickled."""
    if name.endswith("model_weights_config.json"):
        config = json.loads(content)
        next(iter(config["config"].values()))["use_pickle"] = True
        return json.dumps(config).encode()
    return pickle.dumps(Trap()) if name.endswith("weight_0") else content


def pickled_inputs(name: str, content: bytes) -> bytes:
    """Sample inputs that only the unrestricted unpickler takes."""
    if not name.endswith("sample_inputs/model.pt"):
        return content
    saved = io.BytesIO()
    torch.save(Trap(), saved)
    return saved.getvalue()


def custom_object(name: str, content: bytes) -> bytes:
    """A constant that is an object."""
    if name.endswith("model_constants_config.json"):
        entry = {"path_name": "opaque_obj_0", "use_pickle": True, "is_param": False}
        return json.dumps({"config": {"evil": entry}}).encode()
    return content


def in_document(change: Callable[[dict[str, Any]], None]) -> Change:
    """A change to the JSON that describes the program."""

    def rewrite(name: str, content: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return content
        document = json.loads(content)
        change(document)
        return json.dumps(document).encode()

    return rewrite


def two_in_one(shown: Path, hidden: Path, to: Path) -> Path:
    """One file in which ``zipfile`` sees one archive and PyTorch's reader another.

    The directory lies right before the end record, and that also says where. ``zipfile`` believes
    the former (something may have been put before an archive), PyTorch's reader the latter. Both
    archives have the same entries.
    """
    body, directory, end = _parts(shown.read_bytes())
    hidden_body, hidden_directory, _ = _parts(hidden.read_bytes())
    assert len(directory) == len(hidden_directory)
    hidden_body += bytes(len(body))
    shifted, at = bytearray(directory), 0
    while at < len(directory):  # zipfile will add what it takes to have been put before
        offset = int.from_bytes(directory[at + 42 : at + 46], "little")
        offset += len(hidden_body) - len(body)
        shifted[at + 42 : at + 46] = offset.to_bytes(4, "little")
        at += 46 + sum(
            int.from_bytes(directory[at + 28 + n : at + 30 + n], "little") for n in (0, 2, 4)
        )
    end = end[:16] + len(hidden_body).to_bytes(4, "little") + end[20:]
    to.write_bytes(hidden_body + hidden_directory + body + shifted + end)
    return to


def _parts(archive: bytes) -> tuple[bytes, bytes, bytes]:
    """Its entries, its directory, and the record at its end."""
    end = archive.rindex(b"PK\5\6")
    start = int.from_bytes(archive[end + 16 : end + 20], "little")
    return archive[:start], archive[start:end], archive[end:]


def node(target: str, *arguments: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """A call of an operator, whose result nothing reads."""
    inputs = [{"name": name, "arg": argument, "kind": 1} for name, argument in arguments]
    outputs = [{"as_none": True}]
    return {"target": target, "inputs": inputs, "outputs": outputs, "metadata": {}, "name": "evil"}
