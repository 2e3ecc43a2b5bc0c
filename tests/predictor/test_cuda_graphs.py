"""What is copied, captured and replayed on a GPU, with a stand-in for ``torch.cuda``.

The stand-in computes on the CPU, at once; a graph runs its network again when it is replayed. What
only a GPU can show is in ``test_torch_runtime.py``.
"""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from model_store.programs.batch_range import BatchRange
from predictor.runtimes import cuda
from predictor.runtimes.cuda import CudaGraphs

LARGEST = 6


class Graph:
    """A captured network: what it read, and how to run it again."""

    replays: ClassVar[list[int]] = []

    def replay(self) -> None:
        """Compute anew into the same outputs."""
        Graph.replays.append(len(self.images))
        for output, again in zip(self.outputs, sums(self.images), strict=True):
            output.copy_(again)


def sums(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A network: the sum of an image's bytes, and half of it."""
    total = images.reshape(len(images), -1).sum(1, keepdim=True)
    return total, total / 2


@pytest.fixture
def captures(monkeypatch) -> list[dict[str, Any]]:
    """The stand-in in its place; how each graph was captured."""
    made: list[dict[str, Any]] = []

    @contextlib.contextmanager
    def capture(graph: Graph, **how: Any):
        made.append({"graph": graph, **how})
        yield

    class Stream:
        waited = 0

        def wait_event(self, _: object) -> None:
            self.waited += 1

        def synchronize(self) -> None:
            """All is done at once."""

    class Event:
        def __init__(self, blocking: bool = False) -> None:
            self.blocking = blocking

        def record(self, _: Stream) -> None:
            """Nothing to wait for."""

        def synchronize(self) -> None:
            """The same."""

    def on_the_host(make: Any) -> Any:
        return lambda shape, dtype, pin_memory=False, device=None: make(shape, dtype=dtype)

    stand_in = SimpleNamespace(
        uint8=torch.uint8,
        zeros=on_the_host(torch.zeros),
        empty=on_the_host(torch.empty),
        cuda=SimpleNamespace(
            Stream=Stream,
            Event=Event,
            CUDAGraph=Graph,
            graph=capture,
            stream=lambda _: contextlib.nullcontext(),
            current_stream=Stream,
            graph_pool_handle=lambda: "one pool",
        ),
    )
    monkeypatch.setattr(cuda, "torch", stand_in)
    monkeypatch.setattr(Graph, "replays", [])
    return made


@pytest.fixture
def gpu(captures) -> CudaGraphs:
    """Over the stand-in."""

    def forward(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        outputs = sums(images)
        if captures and not hasattr(captures[-1]["graph"], "images"):
            captures[-1]["graph"].images, captures[-1]["graph"].outputs = images, outputs
        return outputs

    return CudaGraphs(forward, BatchRange(1, LARGEST))


def noise(count: int) -> np.ndarray:
    """Images: uint8 (n, 4, 4, 3)."""
    return np.random.default_rng(count).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)


def check(gpu: CudaGraphs, images: np.ndarray) -> None:
    """Its answers are those to these images."""
    expected = images.reshape(len(images), -1).sum(1, dtype=np.int64)
    answers = gpu.run(images)
    assert answers.indices[:, 0].tolist() == expected.tolist()
    assert answers.scores[:, 0].tolist() == (expected / 2).tolist()


def test_each_size_is_captured_once_and_replayed_padded(gpu, captures):
    """To the next power of two, and no further than the program goes."""
    for count in (1, 2, 3, 4, 5, 6, 1, 5):
        check(gpu, noise(count))

    assert Graph.replays == [1, 2, 4, 4, 6, 6, 1, 6]
    assert [len(each["graph"].images) for each in captures] == [1, 2, 4, 6]


def test_captures_share_one_memory_and_one_stream_and_let_other_threads_copy(gpu, captures):
    """As PyTorch asks of graphs that share a pool."""
    for count in (1, 3):
        check(gpu, noise(count))

    assert {each["pool"] for each in captures} == {"one pool"}
    assert len({id(each["stream"]) for each in captures}) == 1
    assert {each["capture_error_mode"] for each in captures} == {"thread_local"}


def test_a_buffer_is_ready_for_every_size_that_was_warmed_up(gpu, captures):
    """So that no capture falls into a client's time; sizes end with its rows."""
    for count in (1, 2, 4, 6):
        check(gpu, noise(count))
    before = len(captures)

    buffer = gpu.allocate((5, 4, 4, 3))

    assert sorted(len(each["graph"].images) for each in captures[before:]) == [1, 2, 4, 5]
    buffer[:5] = noise(5)
    gpu.ahead(buffer, 0, 5)
    check(gpu, buffer[:5])
    assert len(captures) == before + 4


def test_rows_copied_ahead_are_run_where_they_are_after_the_copy(gpu):
    """Two buffers in turn, filled row by row."""
    buffers = [gpu.allocate((5, 4, 4, 3)) for _ in range(2)]

    for turn, count in enumerate((1, 3, 5, 2, 4, 1)):
        buffer = buffers[turn % 2]
        for row, image in enumerate(noise(count)):
            buffer[row] = image
            gpu.ahead(buffer, row, row + 1)
        check(gpu, buffer[:count])

    assert gpu._compute.waited == 6
    assert gpu._own == {}


def test_what_is_not_wholly_ahead_is_copied_first(gpu):
    """A later part, a batch in a buffer of which nothing was said since, every other row."""
    buffer = gpu.allocate((5, 4, 4, 3))
    buffer[:4] = noise(4)
    gpu.ahead(buffer, 0, 2)

    check(gpu, buffer[:3])
    gpu.ahead(buffer, 0, 4)
    check(gpu, buffer[2:4])
    check(gpu, buffer[:4:2])
    check(gpu, buffer[:4])
    buffer[:4] = noise(5)[:4]
    check(gpu, buffer[:4])

    assert gpu._compute.waited == 1


def test_other_memory_and_no_rows_are_nobodys_business(gpu):
    """The feeder may name what was left of a batch, and that may be nothing."""
    buffer = gpu.allocate((5, 4, 4, 3))

    gpu.ahead(noise(2), 0, 2)
    gpu.ahead(buffer, 3, 3)

    check(gpu, buffer[:4])
    assert gpu._compute.waited == 0


def test_more_than_the_program_takes_is_an_error(gpu):
    """Warm-up sees to it that no batch is."""
    with pytest.raises(ValueError, match="7 images at once; this program takes 6"):
        gpu.run(noise(7))
