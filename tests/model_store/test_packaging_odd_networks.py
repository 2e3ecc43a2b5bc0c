"""Networks people really have: every odd shape packages, and answers as the original does."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_store.answers import ServingGraph
from model_store.errors import ParityError
from model_store.golden import check_golden
from model_store.package import Resize

IDENTITY = {"scale": 1.0, "mean": (0.0, 0.0, 0.0)}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="plain"),
        pytest.param({"layout": "NHWC"}, id="channels last"),
        pytest.param({"dtype": TensorProto.FLOAT16}, id="float16"),
        pytest.param({"batch": 1}, id="batch fixed at 1"),
        pytest.param({"batch": 4}, id="batch fixed at 4"),
        pytest.param({"batch": 1, "flat_reshape": True}, id="constant reshape"),
        pytest.param({"batch": 4, "flat_reshape": True}, id="constant reshape of 4"),
        pytest.param({"batch": -1}, id="open batch written as -1"),
        pytest.param({"opset": 7}, id="opset 7"),
        pytest.param({"opset": 9, "weights_are_inputs": True}, id="weights among the inputs"),
        pytest.param({"input_name": "image", "output_name": "scores"}, id="our public names"),
        pytest.param({"input_name": "millrace/input", "output_name": "indices"}, id="our prefix"),
        pytest.param({"extra_output": True}, id="a second output of another size"),
    ],
)
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_odd_network_packages_with_parity(changes, channels, bench, tiny):
    """The serving graph matches the original, alone and in batches, or packaging would refuse."""
    package = bench.package(tiny.but(**changes), channels=channels)
    assert package.manifest.parity.top1_agreement == 1.0
    assert check_golden(package) <= package.manifest.parity.tolerance


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_uint8_network_gets_the_pixels_as_they_are(layout, bench, tiny):
    """A network that normalises inside is only reordered."""
    package = bench.package(tiny.but(layout=layout, dtype=TensorProto.UINT8), **IDENTITY)
    assert package.manifest.input.original.dtype == "uint8"


def test_open_image_size_is_taken_from_the_request(bench, tiny):
    """A network for any image size is packaged for the one that is asked for."""
    package = bench.package(tiny.but(size=("h", "w")), input_size=(6, 9))
    assert package.manifest.input.shape == (6, 9, 3)


def test_open_layout_is_taken_from_the_request(bench, tiny):
    """Where no dimension says which are the channels, --layout does."""
    package = bench.package(
        tiny.but(channels="c", size=("h", "w")), input_size=(8, 8), layout="NCHW"
    )
    assert package.manifest.input.original.layout == "NCHW"


def test_probabilities_are_not_softmaxed_again(bench, tiny):
    """Scores of a network that ends in softmax add up to one as they are."""
    package = bench.package(tiny.but(softmax=True), scores="probabilities", top_k=4)
    scores = package.manifest.golden[0].scores
    assert sum(scores) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("opset", [7, 13])
def test_class_offset_drops_outputs_at_the_front(opset, bench, tiny):
    """Class 0 is the first output after the offset, before and after Slice changed its form."""
    whole = bench.package(tiny.but(opset=opset), top_k=4)
    (bench.folder / "labels.txt").write_text("birch\ncedar\ndogwood\n", encoding="utf-8")
    shifted = bench.package(tiny.but(opset=opset), class_offset=1)
    pixels = np.random.default_rng(1).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    all_four = ServingGraph(whole.path / "fp32.onnx").answer(pixels)
    three = ServingGraph(shifted.path / "fp32.onnx").answer(pixels)
    for row in range(len(pixels)):
        expected = [i - 1 for i in all_four.indices[row] if i > 0]
        assert three.indices[row].tolist() == expected


def test_external_weights_end_up_inside_one_file(bench, tiny):
    """A network with its weights in a second file becomes self-contained."""
    source = bench.folder / "split.onnx"
    onnx.save_model(
        tiny.model(), str(source), save_as_external_data=True, location="w.bin", size_threshold=0
    )
    from model_store.packaging import package

    made = package(bench.request_for(source), bench.store, lambda *_: None)
    (bench.folder / "w.bin").unlink()
    assert check_golden(made) <= made.manifest.parity.tolerance


def test_trailing_ones_of_the_output_are_dropped(bench, tiny):
    """Scores shaped [N, C, 1, 1] are read as [N, C]."""
    model = tiny.but(output_name="flat_scores").model()
    axes = numpy_helper.from_array(np.array([2, 3], np.int64), "axes")
    model.graph.initializer.append(axes)
    model.graph.node.append(helper.make_node("Unsqueeze", ["flat_scores", "axes"], ["y"]))
    del model.graph.output[:]
    model.graph.output.append(
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4, 1, 1])
    )
    assert bench.package(model).manifest.classes == 4


def test_names_inside_a_subgraph_are_renamed_with_the_rest(bench, tiny):
    """A branch that uses an outer value called ``image`` still finds it."""
    model = tiny.but(input_name="image", output_name="plain").model()
    inner = helper.make_graph(
        [helper.make_node("ReduceMax", ["image"], ["m"], axes=[2, 3], keepdims=0)],
        "then",
        [],
        [helper.make_tensor_value_info("m", TensorProto.FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("ReduceMin", ["image"], ["n"], axes=[2, 3], keepdims=0)],
        "else",
        [],
        [helper.make_tensor_value_info("n", TensorProto.FLOAT, None)],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.extend(
        [
            helper.make_node("If", ["yes"], ["chosen"], then_branch=inner, else_branch=other),
            helper.make_node("MatMul", ["chosen", "w"], ["extra"]),
            helper.make_node("Add", ["plain", "extra"], ["y"]),
        ]
    )
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", 4]))
    assert bench.package(model).manifest.parity.top1_agreement == 1.0


@pytest.mark.parametrize("policy", ["exact", "letterbox"])
def test_every_resize_policy_reaches_the_manifest(policy, bench, tiny):
    """What the predictor must do with an image is in the package."""
    package = bench.package(tiny, resize=Resize(policy=policy))
    assert package.manifest.input.resize.policy == policy


def test_top_k_is_at_most_the_number_of_classes(bench, tiny):
    """Five by default; four where there are only four."""
    assert bench.package(tiny).manifest.top_k == 4
    assert bench.package(tiny, top_k=2).manifest.top_k == 2


@pytest.mark.parametrize("batch", [1, 2])
def test_fixed_vision_transformer_front_becomes_dynamic(batch, bench):
    """Patches beside a baked class token, and windows merged into the batch and back."""
    rng = np.random.default_rng(5)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)

    def shape(name: str, *dims: int) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(dims, np.int64), name)

    nodes = [
        helper.make_node("Conv", ["x", "patch"], ["patches"], strides=[2, 2]),
        helper.make_node("Reshape", ["patches", "s_windows"], ["windows"]),
        helper.make_node("Transpose", ["windows"], ["swapped"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["swapped", "s_merged"], ["merged"]),
        helper.make_node("MatMul", ["merged", "mix"], ["mixed"]),
        helper.make_node("Reshape", ["mixed", "s_tokens"], ["tokens"]),
        helper.make_node("Concat", ["token", "tokens"], ["all"], axis=1),
        helper.make_node("Softmax", ["all"], ["soft"], axis=1),
        helper.make_node("ReduceSum", ["soft", "s_axis"], ["summed"], keepdims=0),
        helper.make_node("Mul", ["summed", "tilt"], ["tilted"]),
        helper.make_node("ReduceMax", ["all"], ["strong"], axes=[1], keepdims=0),
        helper.make_node("Add", ["tilted", "strong"], ["features"]),
        helper.make_node("MatMul", ["features", "head"], ["y"]),
    ]
    token = rng.normal(size=(1, 1, 6)).astype(np.float32).repeat(batch, axis=0)
    graph = helper.make_graph(
        nodes,
        "front",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4])],
        [
            *(weight("patch", 6, 3, 2, 2), weight("mix", 8, 8), weight("tilt", 6)),
            *(weight("head", 6, 4), numpy_helper.from_array(token, "token")),
            *(shape("s_windows", batch, 6, 2, 8), shape("s_merged", batch * 2, 6, 8)),
            *(shape("s_tokens", batch, -1, 6), shape("s_axis", 1)),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert bench.package(model).manifest.parity.top1_agreement == 1.0


def test_fixed_network_that_cannot_become_dynamic_is_refused_with_the_reason(bench, tiny, refuses):
    """Its batch dimension is squeezed away and put back: only the exporter can help."""
    model = tiny.but(batch=1, output_name="row").model()
    axis = numpy_helper.from_array(np.array([0], np.int64), "axis")
    model.graph.initializer.append(axis)
    model.graph.node.extend(
        [
            helper.make_node("Squeeze", ["row", "axis"], ["bare"]),
            helper.make_node("Unsqueeze", ["bare", "axis"], ["y"]),
        ]
    )
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4]))
    line = refuses(bench.request(model), ParityError)
    assert "export it with a dynamic batch dimension" in line
