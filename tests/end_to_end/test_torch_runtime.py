"""A package whose serving graph is a torch.export program, in a whole pod."""

from __future__ import annotations

import shutil

import httpx
import torch

from model_store.package import load_package, sha256_of, write_manifest
from tests.conftest import COLOUR_SIZE, COLOURS, colour_image
from tests.end_to_end.test_faults import serve_and_fail


class ColourGraph(torch.nn.Module):
    """What ``colour_network`` computes: ten times the mean of each channel, 0 to 1."""

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """A serving graph: uint8 (n, H, W, 3) in."""
        logits = image.float().mean((1, 2)) / 255 * 10
        scores, indices = torch.softmax(logits, 1).topk(3)
        return {"indices": indices, "scores": scores}


def torch_package(colours, folder):
    """The colours package with a ``.pt2`` file in the place of its ONNX graph."""
    copy = folder / "colours" / "1"
    shutil.copytree(colours.path, copy)
    example = torch.zeros(2, COLOUR_SIZE, COLOUR_SIZE, 3, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(ColourGraph(), (example,), dynamic_shapes=({0: batch},))
    torch.export.save(program, copy / "model.pt2")
    manifest = colours.manifest
    variant = manifest.variants[0].model_copy(update={"file": "model.pt2", "runtime": "torch"})
    files = manifest.files | {"model.pt2": sha256_of(copy / "model.pt2")}
    write_manifest(copy, manifest.model_copy(update={"variants": (variant,), "files": files}))
    return load_package(copy)


def test_a_pod_serves_an_exported_program(start, colours, tmp_path):
    """Proven by the same golden images, answering the same."""
    pod = start(torch_package(colours, tmp_path), "--devices", "cpu")

    for colour in COLOURS:
        answer = httpx.put(f"{pod.url}/v1/models/colours:predict", content=colour_image(colour))
        assert answer.json()["predictions"][0]["label"] == colour
    described = httpx.get(f"{pod.url}/v2/models/colours").json()
    config = httpx.get(f"{pod.url}/v2/models/colours/config").json()
    assert described["platform"] == config["platform"] == "millrace_torch"
    assert (config["backend"], config["default_model_filename"]) == ("pytorch", "model.pt2")


def test_a_batch_larger_than_the_program_takes_is_never_gathered(start, colours, tmp_path):
    """Though one was asked for: it is 64."""
    pod = start(torch_package(colours, tmp_path), "--devices", "cpu", "--max-batch-size", "100")

    assert any("batches of 64: the graph takes no more at once" in line for line in pod.log)
    assert any("ready: batches of up to 64" in line for line in pod.log)


def test_a_device_that_only_onnx_runtime_knows_is_refused(colours, tmp_path):
    """One line that says which there are."""
    package = torch_package(colours, tmp_path)

    said = serve_and_fail(package.path, "--devices", "openvino", "--http-port", "0")

    assert "model.pt2 runs on cpu, cuda, rocm" in said
