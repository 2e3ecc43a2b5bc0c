"""What may be packaged: ONNX with its weights beside it, PyTorch networks programs, MLflow's."""

from __future__ import annotations

import dataclasses
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml
from onnx import helper

from model_store.answers import ServingGraph
from model_store.errors import PackageError, SourceError
from model_store.golden import check_golden
from model_store.network import external_files
from model_store.package import load_package
from model_store.packaging import package
from model_store.programs.serving import TorchServing
from model_store.reference import image_files, reference_pixels
from model_store.sources.kinds import digest
from tests.conftest import quiet
from tests.model_store import torch_networks

HERE = "tests.model_store.torch_networks"
SIZE = (8, 8)


@pytest.fixture
def checkpoint(bench) -> Path:
    """The small network's weights, as training scripts keep them."""
    file = bench.folder / "small.th"
    content = {"epoch": 3, "state_dict": torch_networks.small().state_dict()}
    torch.save(content, file)
    return file


def program(file: Path, network: torch.nn.Module | None = None, batch: bool = True) -> Path:
    """The small network as an exported program, for any batch or for two images."""
    network = (network or torch_networks.small()).eval()
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},) if batch else None
    exported = torch.export.export(network, (torch.zeros(2, 3, *SIZE),), dynamic_shapes=shapes)
    torch.export.save(exported, file)
    return file


def factory(bench, name: str, checkpoint: Path | None, **settings: object):
    """A request to package what a factory makes."""
    given = {"checkpoint": checkpoint, "input_size": SIZE, **settings}
    return bench.request_for(Path(f"{HERE}:{name}"), **given)


def all_answers(serving, made, folder: Path) -> np.ndarray:
    """The best class of every image below a folder."""
    files = image_files(folder)
    pixels = [reference_pixels(file.read_bytes(), made.manifest.input) for file in files]
    parts = [pixels[start : start + 50] for start in range(0, len(pixels), 50)]
    return np.concatenate([serving.answer(np.stack(part)).indices[:, 0] for part in parts])


def test_a_real_checkpoint_answers_as_the_onnx_file_of_the_same_network(
    requests, packages, tmp_path
):
    """ResNet-20 from its training script's checkpoint: both its variants, on 500 images."""
    onnx_request = requests["resnet20"]
    request = dataclasses.replace(
        onnx_request,
        source=Path(f"{HERE}:resnet20"),
        checkpoint=onnx_request.source.with_suffix(".th"),
        factory_args={"classes": 10},
        input_size=(32, 32),
    )
    made = package(request, tmp_path, quiet)
    assert [v.file for v in made.manifest.variants] == ["fp32.onnx", "model.pt2"]
    assert made.manifest.parity.top1_agreement == 1.0
    assert made.manifest.variants[1].proof.held_out.top1_agreement == 1.0
    assert made.manifest.provenance.source == f"{HERE}:resnet20 resnet20_cifar10.th"
    assert made.manifest.provenance.source_sha256 == digest((request.checkpoint,))
    images = onnx_request.parity_images
    expected = all_answers(ServingGraph(packages["resnet20"].path / "fp32.onnx"), made, images)
    for serving in (
        ServingGraph(made.path / "fp32.onnx"),
        TorchServing(made.path / "model.pt2", "fp32"),
    ):
        np.testing.assert_array_equal(all_answers(serving, made, images), expected)
    assert check_golden(load_package(made.path)) <= 1e-3


def test_programs_in_half_precision_are_proven_too(bench, checkpoint):
    """By autocast, as the torch runtime computes them; they are one program."""
    request = factory(bench, "small", checkpoint, variants=("fp32", "pt2", "pt2-bf16", "pt2-fp16"))
    made = package(request, bench.store, quiet)
    named = {v.file: (v.runtime, v.precision) for v in made.manifest.variants}
    assert named == {
        "fp32.onnx": ("onnx", "fp32"),
        "model.pt2": ("torch", "fp32"),
        "bf16.pt2": ("torch", "bf16"),
        "fp16.pt2": ("torch", "fp16"),
    }
    files = made.manifest.files
    assert files["bf16.pt2"] == files["fp16.pt2"] == files["model.pt2"]
    assert check_golden(load_package(made.path)) <= 0.05


def test_a_program_is_a_source(bench, tmp_path):
    """Its image size is its own; normalising goes around it."""
    made = package(bench.request_for(program(tmp_path / "small.pt2")), bench.store, quiet)
    assert [v.file for v in made.manifest.variants] == ["fp32.onnx", "model.pt2"]
    assert (made.manifest.input.height, made.manifest.input.width) == SIZE
    assert made.manifest.parity.top1_agreement == 1.0


def test_a_program_for_a_fixed_batch_becomes_onnx_for_any(bench, tmp_path, refuses):
    """Not a program, which is refused where it is asked for."""
    fixed = program(tmp_path / "fixed.pt2", batch=False)
    made = package(bench.request_for(fixed), bench.store / "onnx", quiet)
    assert [v.file for v in made.manifest.variants] == ["fp32.onnx"]
    with pytest.raises(SourceError, match="its batch is fixed at 2"):
        package(bench.request_for(fixed, variants=("pt2",)), bench.store / "pt2", quiet)


def test_bgr_and_a_background_class_are_the_same_in_both_variants(bench, checkpoint):
    """What surrounds the network is written twice, once for each runtime."""
    (bench.folder / "labels.txt").write_text("ash\nbirch\ncedar\n", encoding="utf-8")
    request = factory(
        bench, "small", checkpoint, channels="BGR", class_offset=1, std=(2.0, 3.0, 4.0)
    )
    made = package(request, bench.store, quiet)
    proof = made.manifest.variants[1].proof
    assert proof.held_out.top1_agreement == proof.calibration.top1_agreement == 1.0
    assert proof.held_out.max_score_difference < 1e-4


def test_scores_are_found_among_several_outputs(bench, tmp_path):
    """By the number of classes; the program gives the same ones."""
    torch.save(torch_networks.two_outputs().state_dict(), tmp_path / "two.th")
    request = factory(bench, "two_outputs", tmp_path / "two.th")
    made = package(request, bench.store, quiet)
    assert made.manifest.variants[1].proof.held_out.max_score_difference < 1e-4


def test_weights_beside_an_onnx_file_are_taken_in(bench, tiny, refuses):
    """They belong to its digest; missing or cut off, the line names the file."""
    file = bench.folder / "external.onnx"
    onnx.save_model(
        tiny.model(), str(file), save_as_external_data=True, location="w.bin", size_threshold=0
    )
    made = package(bench.request_for(file), bench.store / "made", quiet)
    graph = onnx.load(made.path / "fp32.onnx", load_external_data=False).graph
    assert not any(weight.external_data for weight in graph.initializer)
    weights = bench.folder / "w.bin"
    assert made.manifest.provenance.source_sha256 == digest((file, weights))
    whole = weights.read_bytes()
    weights.write_bytes(whole[:10])
    with pytest.raises(SourceError, match=r"external\.onnx: "):
        package(bench.request_for(file), bench.store / "cut", quiet)
    weights.unlink()
    with pytest.raises(SourceError, match=r"external data files cannot be read: .*w\.bin"):
        package(bench.request_for(file), bench.store / "gone", quiet)
    assert list(bench.store.glob("[cg]*/*")) == []


def constant(weight: onnx.TensorProto) -> onnx.NodeProto:
    """A weight as some exporters write it: an operator that gives it."""
    return helper.make_node("Constant", [], [weight.name], value=weight)


def save_with_weights_beside(model: onnx.ModelProto, file: Path) -> None:
    """Everything in ``w.bin``, constants too."""
    onnx.save_model(
        model,
        str(file),
        save_as_external_data=True,
        location="w.bin",
        size_threshold=0,
        convert_attribute=True,
    )


def test_constants_beside_an_onnx_file_belong_to_its_digest(bench, tiny):
    """Like weights: what the network answers is in them."""
    model = tiny.model()
    model.graph.node.insert(0, constant(model.graph.initializer.pop()))
    file = bench.folder / "constants.onnx"
    save_with_weights_beside(model, file)
    made = package(bench.request_for(file), bench.store, quiet)
    expected = digest((file, bench.folder / "w.bin"))
    assert made.manifest.provenance.source_sha256 == expected


def test_constants_in_branches_are_found_beside_an_onnx_file(bench, tiny):
    """A branch is a graph within an operator."""
    model = tiny.model()
    weight = model.graph.initializer.pop()
    given = helper.make_tensor_value_info("w", weight.data_type, weight.dims)
    branch = helper.make_graph([constant(weight)], "branch", [], [given])
    branches = {"then_branch": branch, "else_branch": branch}
    model.graph.node.insert(0, helper.make_node("If", ["yes"], ["w"], **branches))
    model.graph.input.append(helper.make_tensor_value_info("yes", onnx.TensorProto.BOOL, []))
    file = bench.folder / "branches.onnx"
    save_with_weights_beside(model, file)
    assert external_files(file) == (bench.folder / "w.bin",)


# MLflow's folders


@pytest.fixture
def mlflow_model(tmp_path):
    """Save the small network as MLflow does; gives the folder."""
    mlflow = pytest.importorskip("mlflow")

    def save(flavor: str, **settings: object) -> Path:
        folder = tmp_path / flavor
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = torch_networks.small()
            if flavor == "onnx":
                file = tmp_path / "small.onnx"
                batch = torch.export.Dim("batch", min=1, max=64)
                torch.onnx.export(
                    network.eval(),
                    (torch.zeros(2, 3, *SIZE),),
                    str(file),
                    dynamic_shapes=({0: batch},),
                    dynamo=True,
                    verbose=False,
                )
                mlflow.onnx.save_model(onnx.load(file), folder, pip_requirements=["onnx"])
            else:
                mlflow.pytorch.save_model(
                    network.eval(), folder, pip_requirements=["torch"], **settings
                )
        return folder

    return save


def test_mlflows_onnx_flavor_is_a_source(bench, mlflow_model):
    """With the weights that MLflow puts beside it."""
    made = package(bench.request_for(mlflow_model("onnx")), bench.store, quiet)
    assert [v.file for v in made.manifest.variants] == ["fp32.onnx"]
    assert made.manifest.provenance.source == "model.onnx"


def test_mlflows_pytorch_flavor_is_a_source_where_it_is_a_program(bench, mlflow_model):
    """As ``serialization_format="pt2"`` and ``export_model=True`` write it."""
    from mlflow.models import infer_signature

    example = np.zeros((2, 3, *SIZE), np.float32)
    folder = mlflow_model(
        "pytorch",
        export_model=True,
        input_example=example,
        signature=infer_signature(example, np.zeros((2, 4), np.float32)),
    )
    made = package(bench.request_for(folder), bench.store, quiet)
    assert [v.file for v in made.manifest.variants] == ["fp32.onnx", "model.pt2"]


def test_a_pickled_module_is_refused_with_how_to_log_it_instead(bench, mlflow_model, refuses):
    """It is not even opened."""
    folder = mlflow_model("pytorch", serialization_format="pickle")
    (folder / "data" / "model.pth").write_bytes(b"never read")
    line = refuses(bench.request_for(folder), SourceError)
    assert "is a pickled module, and unpickling runs code; log it with mlflow.pytorch." in line
    assert 'serialization_format="pt2", input_example=' in line


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("flavors: [", "MLmodel: cannot be read: "),
        ("when: 2026-99-99", "MLmodel: cannot be read: holds a malformed value"),
        ("[" * 5000, "MLmodel: cannot be read: is nested too deeply"),
        ('flavors: {onnx: {data: "a\\0b"}}', "a\\x00b': is no path"),
        (f"flavors: {{onnx: {{data: {'a' * 256}}}}}", "is no path: it holds a NUL, or a name of"),
        ("flavors: 3", "is damaged: it lists no flavors"),
        ("flavors: {sklearn: {}}", "no onnx or pytorch flavor, only sklearn"),
        ("flavors: {onnx: {data: ../../labels.txt}}", "leads outside the model's folder"),
        ("flavors: {onnx: {data: model.onnx}}", "model.onnx: missing, though MLmodel names it"),
        ("flavors: {pytorch: {model_data: data}}", "holds no model.pt2"),
    ],
)
def test_a_damaged_mlflow_model_is_refused(bench, refuses, content, reason):
    """One line with the file."""
    folder = bench.folder / "logged"
    (folder / "data").mkdir(parents=True)
    (folder / "MLmodel").write_text(content, encoding="utf-8")
    assert reason in refuses(bench.request_for(folder), SourceError)


# What is refused


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("code was run",))


def _save_whole(file: Path) -> None:
    torch.save(torch_networks.small(), file)


def _save_trap(file: Path) -> None:
    torch.save({"state_dict": torch_networks.small().state_dict(), "more": Trap()}, file)


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (
            _save_whole,
            r"needs unpickling of code \(.*Small\), .*torch\.save\(model\.state_dict\(\)",
        ),
        (_save_trap, "needs unpickling of code"),
        (lambda file: torch.save([1, 2], file), "holds no state dict but list"),
        (lambda file: torch.save({"a": 1}, file), "'a' is int, not a tensor"),
        (lambda file: file.write_bytes(b""), "no PyTorch checkpoint, or damaged"),
        (lambda file: file.write_bytes(b"no checkpoint"), "no PyTorch checkpoint, or damaged"),
        (lambda file: file.write_bytes(b"PK\3\4" + bytes(99)), "no PyTorch checkpoint, or damaged"),
        (lambda file: None, "no such checkpoint"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_refused(bench, refuses, write, reason):
    """One line with the file; no code in it is run."""
    file = bench.folder / "weights.th"
    write(file)
    assert re.search(reason, refuses(factory(bench, "small", file), SourceError))


def test_names_that_do_not_fit_are_counted_and_the_first_is_named(bench, refuses, tmp_path):
    """Missing, unexpected, of another shape; a counter that old checkpoints lack is no matter."""
    weights = torch_networks.small().state_dict()
    del weights["norm.num_batches_tracked"]
    torch.save({f"module.{name}": value for name, value in weights.items()}, tmp_path / "old.th")
    assert package(factory(bench, "small", tmp_path / "old.th"), tmp_path / "fits", quiet)
    weights["head.weight"] = weights.pop("linear.weight")
    del weights["conv.bias"]
    weights["linear.bias"] = torch.zeros(7)
    torch.save(weights, tmp_path / "other.th")
    line = refuses(factory(bench, "small", tmp_path / "other.th"), SourceError)
    assert "other.th: does not fit the network: " in line
    assert "2 of its names missing in the checkpoint (first 'conv.bias')" in line
    assert "1 unexpected there (first 'head.weight')" in line
    assert "1 of another shape (first 'linear.bias': [7] in the checkpoint, [4] in the" in line


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda w: w.to_sparse(), "is no dense tensor (sparse_coo); save it dense"),
        (lambda w: w.to_sparse_csr(), "is no dense tensor (sparse_csr); save it dense"),
        (lambda w: w.to("meta"), "holds no numbers"),
        (
            lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8),
            "is quantised (qint8); save it dequantised",
        ),
        (lambda w: w.to(torch.complex64), "is complex (complex64), where the network has float32"),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning")
def test_weights_that_are_not_plain_numbers_are_refused(bench, refuses, tmp_path, change, reason):
    """PyTorch would fail, or take the real part alone."""
    weights = torch_networks.small().state_dict()
    torch.save({**weights, "linear.weight": change(weights["linear.weight"])}, tmp_path / "odd.th")
    line = refuses(factory(bench, "small", tmp_path / "odd.th"), SourceError)
    assert f"odd.th: 'linear.weight' {reason}" in line


def test_weights_of_another_precision_are_taken(bench, tmp_path):
    """A checkpoint in float64 or float16 has the same numbers, near enough."""
    weights = torch_networks.small().state_dict()
    mixed = {**weights, "linear.weight": weights["linear.weight"].double()}
    mixed["conv.weight"] = weights["conv.weight"].half()
    torch.save(mixed, tmp_path / "mixed.th")
    assert package(factory(bench, "small", tmp_path / "mixed.th"), bench.store, quiet)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("lazy", "the network's 'linear.weight' is lazy and has no shape yet"),
        ("on_meta", "the network's 'conv.weight' is on the device meta"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
def test_a_network_that_nothing_can_be_put_into_is_refused(
    bench, refuses, checkpoint, name, reason
):
    """It has no memory for weights."""
    assert reason in refuses(factory(bench, name, checkpoint), SourceError)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nothing", "has no function 'nothing'"),
        ("not_a_network", "gives dict, not a torch.nn.Module"),
        ("failing", "fails: OSError: no weights here; --factory-args"),
    ],
)
def test_a_factory_that_makes_no_network_is_refused(bench, refuses, checkpoint, name, reason):
    """One line, whatever the user's code does."""
    assert reason in refuses(factory(bench, name, checkpoint), SourceError)


def test_a_factory_may_import_a_neighbour_when_it_is_called(
    bench, checkpoint, tmp_path, monkeypatch
):
    """The current folder is looked in as long as the user's code runs, and no longer."""
    (tmp_path / "late_factory.py").write_text(
        "def make():\n    import late_neighbour\n    return late_neighbour.small()\n",
        encoding="utf-8",
    )
    code = Path(torch_networks.__file__).read_text(encoding="utf-8")
    (tmp_path / "late_neighbour.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    request = bench.request_for(
        Path("late_factory:make"), checkpoint=checkpoint, input_size=SIZE, variants=("fp32",)
    )
    made = package(request, bench.store, quiet)
    assert made.manifest.provenance.source == "late_factory:make small.th"
    assert sys.path == before


def test_what_a_torch_source_must_be_told(bench, refuses, checkpoint, tiny, tmp_path):
    """Weights, image size, an importable module; and what goes with nothing else."""
    assert "give --checkpoint" in refuses(factory(bench, "small", None), SourceError)
    line = refuses(factory(bench, "small", checkpoint, input_size=None), SourceError)
    assert "give --input-size" in line
    nowhere = bench.request_for(Path("nowhere_at_all:make"), checkpoint=checkpoint, input_size=SIZE)
    assert "no module 'nowhere_at_all' in " in refuses(nowhere, SourceError)
    line = refuses(bench.request(tiny, checkpoint=checkpoint), SourceError)
    assert "--checkpoint goes with a source such as module:factory" in line
    line = refuses(bench.request(tiny, factory_args={"a": 1}), SourceError)
    assert "--factory-args go with" in line
    line = refuses(factory(bench, "small", checkpoint, factory_args={"a": 1}), SourceError)
    assert "unexpected keyword argument 'a'; --factory-args" in line
    (bench.folder / "labels.txt").write_text("ash\nbirch\n", encoding="utf-8")
    assert "2 labels, but" in refuses(factory(bench, "small", checkpoint), SourceError)


def test_a_program_that_cannot_be_used_is_refused(bench, refuses, tmp_path):
    """Damaged, pickled, or a serving program already."""
    from tests.predictor.torch_programs import export, pickled_weight, rewritten

    whole = program(tmp_path / "whole.pt2")
    broken = tmp_path / "broken.pt2"
    broken.write_bytes(whole.read_bytes()[:500])
    assert "not a torch.export program" in refuses(bench.request_for(broken), SourceError)
    evil = rewritten(whole, tmp_path / "evil.pt2", pickled_weight)
    assert "could run code" in refuses(bench.request_for(evil), SourceError)
    serving = export(tmp_path / "serving.pt2")
    line = refuses(bench.request_for(serving), SourceError)
    assert "takes uint8 [N,H,W,3], as a serving program does" in line


def test_verify_finds_a_program_that_answers_otherwise(bench, checkpoint):
    """A variant of PyTorch is checked like the others."""
    from model_store.package import GoldenAnswer, write_manifest

    made = package(factory(bench, "small", checkpoint), bench.store, quiet)
    first, other = made.manifest.variants
    answers = tuple(GoldenAnswer(indices=g.indices[::-1], scores=g.scores) for g in other.golden)
    damaged = other.model_copy(update={"golden": answers})
    write_manifest(made.path, made.manifest.model_copy(update={"variants": (first, damaged)}))
    with pytest.raises(PackageError, match=r"model\.pt2: golden image"):
        check_golden(load_package(made.path))


def test_manifest_of_a_torch_package_is_plain_data(bench, checkpoint):
    """Nothing of Python's own in it."""
    made = package(factory(bench, "small", checkpoint), bench.store, quiet)
    content = yaml.safe_load((made.path / "model.yaml").read_text(encoding="utf-8"))
    assert content["provenance"]["tools"]["torch"]
    assert content["variants"][1]["runtime"] == "torch"
