"""A PyTorch network as a source: made or loaded, its own oracle, and exported both ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass
from torch.utils import _pytree

from model_store.errors import PackageError, SourceError, one_line
from model_store.network import Network, read_network
from model_store.original import network_input
from model_store.package import ImageInput, Layout, OriginalInput, OriginalOutput
from model_store.programs.loading import read_program
from model_store.programs.precision import drop_assertions
from model_store.reference import Pixels
from model_store.sources.checkpoint import fit, read_checkpoint
from model_store.sources.export import write_onnx, write_program
from model_store.sources.factory import make_network
from model_store.sources.kinds import Located

_EXAMPLE = 2
_SERVING_DTYPE = torch.uint8


@dataclass(frozen=True, slots=True)
class TorchNetwork:
    """The user's network in PyTorch, on the CPU.

    ``example`` is an input of it, (N, 3, H, W) as a rule; ``fixed_batch`` is None where it takes
    any batch.
    """

    name: str
    module: torch.nn.Module
    example: torch.Tensor
    fixed_batch: int | None = None

    def as_onnx(self, folder: Path, layout: Layout | None) -> Network:
        """The same network as an ONNX file in ``folder``.

        Raises:
            SourceError: it cannot be exported, or is no image classifier.
        """
        file = folder / "network.onnx"
        write_onnx(self.name, self.module, self.example, file, fixed=self.fixed_batch is not None)
        try:
            network = read_network(file, layout)
        except SourceError as error:
            said = str(error).removeprefix(f"{file}: ")
            raise SourceError(f"{self.name}: as ONNX it {said}") from error
        return replace(network, path=Path(self.name))

    def write_program(
        self, image: ImageInput, output: OriginalOutput, place: int, top_k: int, file: Path
    ) -> None:
        """Write it as a serving program.

        Raises:
            SourceError: it cannot be exported so.
        """
        if self.fixed_batch is not None:
            raise SourceError(
                f"{self.name}: its batch is fixed at {self.fixed_batch}, which a serving program's "
                "must not be; export it with dynamic_shapes, or leave pt2 away from --variants"
            )
        write_program(self.name, self.module, image, output, place, top_k, file)


class TorchOriginal:
    """The network itself in PyTorch, one image at a time: what its packages are proven against."""

    def __init__(
        self, network: TorchNetwork, original: OriginalInput, names: tuple[str, ...]
    ) -> None:
        self._network, self._original, self._names = network, original, names

    def outputs(self, pixels: Pixels, output_name: str) -> NDArray[np.float32]:
        """The named output for one image (H, W, 3), with its own trailing shape, as float32.

        Raises:
            SourceError: when the network does not run, or gives no batch of numbers.
        """
        name = self._network.name
        batch = np.repeat(
            network_input(pixels[np.newaxis], self._original),
            self._network.fixed_batch or 1,
            axis=0,
        )
        try:
            with torch.inference_mode():
                given = _pytree.tree_leaves(self._network.module(torch.from_numpy(batch)))
        # The network's own code raises whatever it likes.
        except Exception as error:
            raise SourceError(f"{name}: does not run: {one_line(error)[:200]}") from error
        output = given[self._names.index(output_name)]
        if not isinstance(output, torch.Tensor) or not output.is_floating_point():
            raise SourceError(f"{name}: output {output_name!r} is no tensor of floats")
        if output.dim() == 0 or output.shape[0] != len(batch):
            raise SourceError(
                f"{name}: output {output_name!r} has shape {tuple(output.shape)}; its first "
                "dimension must be the batch"
            )
        first: NDArray[np.float32] = output[0].float().numpy()
        return first


def from_factory(
    located: Located,
    arguments: Mapping[str, Any],
    size: tuple[int, int] | None,
    layout: Layout | None,
) -> TorchNetwork:
    """Make the network and put its checkpoint in.

    Raises:
        SourceError: one of the two is not what it must be, or the image size is not told.
    """
    if size is None:
        raise SourceError(f"{located.name}: does not tell its image size; give --input-size")
    weights = read_checkpoint(located.file)
    module = make_network(located.factory, arguments)
    fit(module, weights, located.file)
    shape = (*size, 3) if layout == "NHWC" else (3, *size)
    return TorchNetwork(located.name, module.float(), torch.zeros((_EXAMPLE, *shape)))


def from_program(located: Located, size: tuple[int, int] | None) -> TorchNetwork:
    """The network in an exported program.

    Raises:
        SourceError: it is none, takes no images, or is a serving program already.
    """
    file, name = located.file, located.name
    try:
        program = read_program(file)
        module = move_to_device_pass(program, torch.device("cpu")).module(check_guards=False)
    except PackageError as error:
        raise SourceError(str(error)) from error
    dims, dtype = _only_input(name, program)
    if dtype == _SERVING_DTYPE and len(dims) == 4 and dims[3] == 3:
        raise SourceError(
            f"{name}: takes uint8 [N,H,W,3], as a serving program does; give the network itself, "
            "exported without what surrounds it"
        )
    drop_assertions(module)
    shape = _filled(name, dims, size)
    fixed = dims[0]
    example = torch.zeros((fixed or _EXAMPLE, *shape), dtype=dtype)
    return TorchNetwork(name, module, example, fixed)


def _only_input(name: str, program: ExportedProgram) -> tuple[list[int | None], torch.dtype]:
    """Its dimensions, None where open, and its type."""
    inputs = [
        node.meta["val"]
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs
    ]
    if len(inputs) != 1 or not isinstance(inputs[0], torch.Tensor) or inputs[0].dim() != 4:
        raise SourceError(f"{name}: an image classifier has one input of four dimensions")
    shape: list[object] = list(inputs[0].shape)  # an open one is a torch.SymInt
    return [dim if isinstance(dim, int) else None for dim in shape], inputs[0].dtype


def _filled(name: str, dims: list[int | None], size: tuple[int, int] | None) -> list[int]:
    """What an image's dimensions are, where the program leaves height and width open."""
    if None not in dims[1:]:
        return [dim for dim in dims[1:] if dim is not None]
    if size is None:
        raise SourceError(f"{name}: leaves its image size open; give --input-size")
    sizes = iter(size)
    return [next(sizes) if dim is None else dim for dim in dims[1:]]
