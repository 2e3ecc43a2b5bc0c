"""A PyTorch network written as plain ONNX, and as a serving program (``.pt2``)."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.utils import _pytree

from model_store.errors import PackageError, SourceError, one_line
from model_store.package import ImageInput, OriginalInput, OriginalOutput
from model_store.programs.loading import read_program

INPUT = "input"
LARGEST_BATCH = 64  # as the predictor looks for at most
_EXAMPLE = 2  # images; one would be taken for a fixed batch of one
_LONGEST_REASON = 300


class ServingModule(torch.nn.Module):
    """The network with what surrounds it in a serving graph; see ``serving_graph.py``.

    Args:
        network: the user's.
        original: what it eats.
        output: what it gives.
        place: of its scores among its outputs.
        top_k: classes in an answer.
    """

    factor: torch.Tensor
    offset: torch.Tensor

    def __init__(
        self,
        network: torch.nn.Module,
        original: OriginalInput,
        output: OriginalOutput,
        place: int,
        top_k: int,
    ) -> None:
        super().__init__()
        self.training = False  # programs do not take eval()
        self.network = network
        self._original, self._output, self._place, self._top_k = original, output, place, top_k
        shape = (1, 3, 1, 1) if original.layout == "NCHW" else (1, 1, 1, 3)
        mean, std = (
            torch.tensor(each, dtype=torch.float64) for each in (original.mean, original.std)
        )
        self.register_buffer("factor", (original.scale / std).float().view(shape))
        self.register_buffer("offset", (-mean / std).float().view(shape))

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """``indices`` and ``scores`` (N, k) for uint8 (N, H, W, 3)."""
        planes = self._original.layout == "NCHW"
        value = image.permute(0, 3, 1, 2) if planes else image
        if self._original.channels == "BGR":
            value = value.flip(1 if planes else 3)
        if self._original.dtype != "uint8":
            value = value.float() * self.factor + self.offset
        outputs = _pytree.tree_leaves(self.network(value))
        scores = outputs[self._place].flatten(1).float()
        if self._output.scores == "logits":
            scores = torch.softmax(scores, 1)
        scores, indices = scores[:, self._output.class_offset :].topk(self._top_k)
        return {"indices": indices, "scores": scores}


def write_onnx(
    name: str, network: torch.nn.Module, example: torch.Tensor, file: Path, *, fixed: bool
) -> None:
    """Write ``network`` as ONNX for any number of images; ``fixed``: for as many as the example.

    Raises:
        SourceError: it cannot be exported; names ``name``.
    """
    try:
        import onnxscript  # noqa: F401 (what the exporter needs, and says in many lines)
    except ImportError as error:
        raise SourceError(f"{name}: needs onnxscript: install millrace[torch]") from error
    shapes = None if fixed else ({0: torch.export.Dim("batch", min=1, max=LARGEST_BATCH)},)
    try:
        with _silence():
            torch.onnx.export(
                network,
                (example,),
                str(file),
                input_names=[INPUT],
                dynamic_shapes=shapes,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    # The exporter and the network's own code raise whatever they like.
    except Exception as error:
        raise SourceError(f"{name}: cannot be exported to ONNX: {_cause(error)}") from error


def write_program(
    name: str,
    network: torch.nn.Module,
    image: ImageInput,
    output: OriginalOutput,
    place: int,
    top_k: int,
    file: Path,
) -> None:
    """Write a serving program, as the torch runtime takes it.

    Raises:
        SourceError: it cannot be exported so, or holds what the runtime does not take.
        OSError: the disk is full, say.
    """
    serving = ServingModule(network, image.original, output, place, top_k)
    example = torch.zeros((_EXAMPLE, *image.shape), dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
    content = io.BytesIO()
    try:
        with _silence(), torch.no_grad():
            program = torch.export.export(serving, (example,), dynamic_shapes=({0: batch},))
            torch.export.save(program, content)
    # As above.
    except Exception as error:
        raise SourceError(
            f"{name}: cannot be exported as a program for any batch: {_cause(error)}"
        ) from error
    file.write_bytes(content.getbuffer())  # PyTorch's own writer does not say that a disk is full
    try:
        read_program(file)
    except PackageError as error:
        said = str(error).removeprefix(f"{file}: ")
        raise SourceError(f"{name}: the torch runtime does not take it: {said}") from error


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Nothing but errors: exporters warn and print of what packaging proves anyway."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _cause(error: BaseException) -> str:
    """The innermost reason in one line: what wraps it speaks of files of reports."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = f"{type(error).__name__}: {one_line(Exception(str(error)))}"
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 1] + "…"
