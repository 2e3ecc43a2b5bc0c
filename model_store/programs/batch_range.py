"""How many images an exported program takes at once, read from the program."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.export import ExportedProgram


@dataclass(frozen=True, slots=True)
class BatchRange:
    """The batches a program takes: from ``least`` images to ``largest`` (None: no limit)."""

    least: int = 1
    largest: int | None = None

    def padded(self, images: int) -> int:
        """The size to run so many images at: the next power of two, within the range.

        Raises:
            ValueError: they are more than the program takes.
        """
        if self.largest is not None and images > self.largest:
            raise ValueError(f"{images} images at once; this program takes {self.largest}")
        size = max(1 << (images - 1).bit_length(), self.least)
        return size if self.largest is None else min(size, self.largest)


def batch_range(program: ExportedProgram) -> BatchRange:
    """The range of the first dimension of a program's only input.

    Raises:
        ValueError: it is no serving graph, or its batch is fixed; says what to do.
    """
    inputs = [
        node.meta["val"]
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs
    ]
    if len(inputs) != 1 or not isinstance(inputs[0], torch.Tensor) or inputs[0].dim() != 4:
        raise ValueError("a serving graph has one input, images of shape [N, H, W, 3]")
    if inputs[0].dtype != torch.uint8:
        raise ValueError(f"a serving graph takes uint8, this program {inputs[0].dtype}")
    batch: object = inputs[0].shape[0]  # PyTorch's stubs say int
    limits = None
    if isinstance(batch, torch.SymInt):
        limits = program.range_constraints.get(batch.node.expr)
    if limits is None:
        raise ValueError(
            f"its batch is fixed at {batch}; export it with dynamic_shapes, "
            "and a torch.export.Dim for dimension 0"
        )
    # The upper one is infinite where none was given, and no integer then.
    largest = int(limits.upper) if limits.upper.is_Integer else None
    return BatchRange(max(1, int(limits.lower)), largest)
