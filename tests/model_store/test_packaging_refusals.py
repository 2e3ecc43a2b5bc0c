"""What cannot be packaged is refused in one line that names the file; nothing is left behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from model_store.errors import PackageError, ParityError, SourceError
from model_store.package import Resize
from model_store.packaging import package


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty (0 bytes)"),
        (b"this is a text\n" * 20, "not an ONNX file, or is truncated"),
        (b"\x08", "not an ONNX file, or is truncated"),
        (b"PK\x03\x04" + b"\0" * 100, "torch checkpoint"),
    ],
)
def test_file_that_is_no_network_is_refused(content, reason, bench, refuses):
    """Empty files, text and torch checkpoints are told apart."""
    source = bench.folder / "bad.onnx"
    source.write_bytes(content)
    line = refuses(bench.request_for(source), SourceError)
    assert str(source) in line
    assert reason in line


def test_missing_file_and_folder_are_refused(bench, refuses):
    """A path that holds no file is named."""
    assert "no such file" in refuses(bench.request_for(bench.folder / "no.onnx"), SourceError)
    assert "is a folder" in refuses(bench.request_for(bench.folder), SourceError)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.99])
def test_truncated_network_is_refused(share, assets, bench, refuses):
    """A download that stopped early is refused wherever it stopped."""
    whole = (assets / "models" / "resnet20_cifar10.onnx").read_bytes()
    source = bench.folder / "cut.onnx"
    source.write_bytes(whole[: int(len(whole) * share)])
    assert "cut.onnx" in refuses(bench.request_for(source), SourceError)


@pytest.mark.parametrize("opset", [5, 27, 99])
def test_unsupported_opset_is_refused_by_number(opset, bench, tiny, refuses):
    """Too old, newer than ONNX Runtime, and newer than ONNX itself."""
    line = refuses(bench.request(tiny.but(opset=opset)), SourceError)
    assert "opset" in line
    assert str(opset) in line
    assert "is not supported" in line


def test_missing_external_weights_are_refused(bench, tiny, refuses):
    """The second file of a network was not copied along."""
    source = bench.folder / "split.onnx"
    onnx.save_model(
        tiny.model(), str(source), save_as_external_data=True, location="w.bin", size_threshold=0
    )
    (bench.folder / "w.bin").unlink()
    assert "w.bin" in refuses(bench.request_for(source), SourceError)


def test_second_input_is_refused(bench, tiny, refuses):
    """A classifier has one image input."""
    model = tiny.model()
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1]))
    assert "2 inputs (x, z)" in refuses(bench.request(model), SourceError)


@pytest.mark.parametrize(
    ("shape", "kind", "reason"),
    [
        (["n", 3, 8], TensorProto.FLOAT, "3 dimensions"),
        (["n", 1, 8, 8], TensorProto.FLOAT, "no dimension of 3 channels"),
        (["n", "c", "h", "w"], TensorProto.FLOAT, "give --layout"),
        (["n", 3, 8, 8], TensorProto.INT64, "is INT64"),
    ],
)
def test_input_that_takes_no_colour_image_is_refused(shape, kind, reason, bench, refuses):
    """Rank, channels, layout and type of the input are checked."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert reason in refuses(bench.request(model), SourceError)


def test_invalid_graph_is_refused(bench, tiny, refuses):
    """A node that reads a value nobody makes."""
    model = tiny.model()
    model.graph.node[0].input[0] = "nowhere"
    assert "not a valid ONNX network" in refuses(bench.request(model), SourceError)


@pytest.mark.parametrize(
    ("text", "settings", "reason"),
    [
        ("a\nb\nc\n", {}, "3 labels, but"),
        ("a\nb\nc\n", {}, "--class-offset 1"),
        ("a\nb\nc\nd\n", {"class_offset": 1}, "less an offset of 1"),
        ("a\n\nb\nc\n", {}, "line 2 is blank"),
        ("a\nb\x0bx\nc\nd\n", {}, "stray line separator"),
        ("a\nb\u2028x\nc\nd\n", {}, "stray line separator"),
        ("", {}, "line 1 is blank"),
    ],
)
def test_labels_that_do_not_fit_are_refused(text, settings, reason, bench, tiny, refuses):
    """As many labels as classes, none blank, none that would shift the others."""
    (bench.folder / "labels.txt").write_text(text, encoding="utf-8")
    line = refuses(bench.request(tiny, **settings), SourceError)
    assert "labels.txt" in line
    assert reason in line


def test_labels_in_another_encoding_are_refused(bench, tiny, refuses):
    """Latin-1 is not guessed."""
    (bench.folder / "labels.txt").write_bytes("käse\n".encode("latin-1") * 4)
    assert "UTF-8" in refuses(bench.request(tiny), SourceError)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"input_size": (9, 8)}, "takes 8x8 images, not 9x8"),
        ({"crop": (6, 6)}, "a crop of 6x6"),
        ({"resize": Resize(policy="shortest-side", size=7)}, "smaller than the crop"),
        ({"top_k": 5}, "--top-k 5 of 4 classes"),
        ({"layout": "NHWC"}, "as NHWC its input has 8 channels"),
        ({"output": "z"}, "no output 'z', only y"),
        ({"std": (1.0, 0.0, 1.0)}, "std"),
        ({"scale": float("nan")}, "scale"),
    ],
)
def test_settings_that_do_not_fit_the_network_are_refused(settings, reason, bench, tiny, refuses):
    """The network's own shape wins over the flags, and says so."""
    assert reason in refuses(bench.request(tiny, **settings), SourceError)


def test_normalising_a_uint8_network_is_refused(bench, tiny, refuses):
    """It normalises inside; doing it twice would be wrong."""
    line = refuses(bench.request(tiny.but(dtype=TensorProto.UINT8)), SourceError)
    assert "leave --scale, --mean and --std away" in line


def test_wrong_kind_of_scores_is_found_out(bench, tiny, refuses):
    """Declared logits that are probabilities, and the reverse, name the right flag."""
    line = refuses(bench.request(tiny.but(softmax=True)), SourceError)
    assert "--scores probabilities" in line
    line = refuses(bench.request(tiny, scores="probabilities"), SourceError)
    assert "--scores logits" in line


def test_parity_images_are_needed(bench, tiny, refuses):
    """No folder, no image in it, or a broken one: each is said."""
    request = bench.request(tiny)
    away = replace(request, parity_images=bench.folder / "nowhere")
    assert "no such folder" in refuses(away, SourceError)
    empty = bench.folder / "empty"
    empty.mkdir()
    assert "holds no images" in refuses(replace(request, parity_images=empty), SourceError)
    (empty / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    line = refuses(replace(request, parity_images=empty), SourceError)
    assert "broken.jpg: cannot be decoded" in line


def test_answer_that_depends_on_neighbours_is_refused_with_that_reason(bench, tiny, refuses):
    """A network that subtracts the batch's mean answers one image in eight ways."""
    line = refuses(bench.request(tiny.but(batch_mean=True), mean=(0.0, 0.0, 0.0)), ParityError)
    assert "depends on its batch neighbours" in line


def test_whole_batch_dynamic_quantisation_is_refused(requests, tmp_path, bench, refuses):
    """ONNX Runtime's quantize_dynamic scales activations by the whole batch."""
    from onnxruntime.quantization import quantize_dynamic

    source = tmp_path / "resnet20_dynamic.onnx"
    quantize_dynamic(requests["resnet20"].source, source)
    line = refuses(replace(requests["resnet20"], source=source), ParityError)
    assert str(source) in line
    assert "depends on its batch neighbours" in line
    assert "dynamic quantisation" in line


def test_name_that_leads_out_of_the_store_is_refused(bench, tiny, refuses):
    """A model's name is one folder."""
    request = bench.request(tiny)
    for name in ("../up", "a/b", "", ".hidden", "A", "x" * 64):
        assert "no model name" in refuses(replace(request, name=name), PackageError)


def test_failure_leaves_earlier_versions_alone(bench, tiny):
    """A refused second version changes nothing in the store."""
    first = bench.package(tiny)
    before = bench.left_behind()
    with pytest.raises(ParityError):
        bench.package(tiny.but(batch_mean=True), mean=(0.0, 0.0, 0.0))
    assert bench.left_behind() == before
    assert first.path.is_dir()


def test_interrupt_leaves_nothing_behind(bench, tiny):
    """Ctrl-C in the middle of the proof cleans up too."""

    def interrupt(what: str, _done: int, _total: int) -> None:
        if what.startswith("serving graph"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        package(bench.request(tiny), bench.store, interrupt)
    assert bench.left_behind() == []


def test_network_that_gives_no_numbers_is_refused(bench, tiny, refuses):
    """NaN scores cannot be compared, so they are not accepted."""
    request = bench.request(tiny)
    model = tiny.model()
    weight = model.graph.initializer[0]
    weight.raw_data = np.full((3, 4), np.nan, np.float32).tobytes()
    onnx.save_model(model, str(Path(request.source)))
    assert "not finite" in refuses(request, SourceError)
