"""An exported program in half precision, and in the layout that GPUs convolve in.

Autocast decides what is computed in half precision, as it does in training. It would cast every
weight anew in every batch: its cache is of no use under CUDA graphs, which would replay what the
cache has freed. So weights that nothing but such operators read are cast here, once, which is what
autocast would have made of them.
"""

from __future__ import annotations

from operator import attrgetter

import torch

ATEN = torch.ops.aten
# What autocast computes in half precision on CPUs and GPUs alike, of what has weights.
HALVED = (
    ATEN.conv1d.default,
    ATEN.conv2d.default,
    ATEN.conv2d.padding,
    ATEN.conv3d.default,
    ATEN.conv_transpose2d.input,
    ATEN.linear.default,
    ATEN.matmul.default,
    ATEN.mm.default,
    ATEN.bmm.default,
    ATEN.addmm.default,
)
ASSERTION = "aten._assert_tensor_metadata.default"
CONVOLUTIONS = (ATEN.conv2d.default, ATEN.conv2d.padding)


def drop_assertions(module: torch.fx.GraphModule) -> None:
    """Take out the checks that a tensor is of the type it was exported in; half would fail them."""
    for node in list(module.graph.nodes):
        if str(node.target) == ASSERTION:
            module.graph.erase_node(node)
    module.recompile()


def halve_weights(module: torch.fx.GraphModule, dtype: torch.dtype) -> None:
    """Cast the float32 weights that autocast to ``dtype`` would cast in every batch."""
    for weight in _read_only_by(module, HALVED):
        if weight.dtype == torch.float32:
            weight.data = weight.data.to(dtype)


def convolve_channels_last(module: torch.fx.GraphModule) -> None:
    """Lay the weights of convolutions out as (N, H, W, C), as the images are."""
    for weight in _read_only_by(module, CONVOLUTIONS):
        if weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)


def _read_only_by(
    module: torch.fx.GraphModule, operators: tuple[object, ...]
) -> list[torch.Tensor]:
    """The tensors of a program that no other operators read."""
    return [
        attrgetter(str(node.target))(module)
        for node in module.graph.find_nodes(op="get_attr")
        if node.users and all(user.target in operators for user in node.users)
    ]
