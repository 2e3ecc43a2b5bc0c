"""PyTorch as a runtime, on real exported programs."""

from __future__ import annotations

import gc
import json
import weakref
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.export.pt2_archive import PT2ArchiveReader

from model_store.errors import PackageError
from model_store.programs.batch_range import BatchRange
from model_store.programs.document import RefusedError, cleaned
from predictor.errors import OutOfMemoryError, StartupError
from predictor.runtimes.torch import TorchRuntime
from tests.predictor.torch_programs import (
    LARGEST,
    SIZE,
    ServingGraph,
    custom_object,
    export,
    in_document,
    node,
    pickled_inputs,
    pickled_weight,
    rewritten,
    two_in_one,
)


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    """The graph, exported for any batch up to 64."""
    return export(tmp_path_factory.mktemp("torch") / "model.pt2")


def images(count: int) -> np.ndarray:
    """Noise: uint8 (n, 16, 16, 3)."""
    shape = (count, SIZE, SIZE, 3)
    return np.random.default_rng(count).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("count", [1, 2, 5, LARGEST])
def test_answers_are_those_of_the_network_itself(program, count):
    """For every batch size, in the types that go on the wire."""
    runtime = TorchRuntime(program, "cpu", 1, "fp32")

    answers = runtime.run(images(count))

    with torch.inference_mode():
        expected = ServingGraph().eval()(torch.from_numpy(images(count)))
    assert (answers.indices.dtype, answers.scores.dtype) == (np.int64, np.float32)
    np.testing.assert_array_equal(answers.indices, expected["indices"].numpy())
    np.testing.assert_allclose(answers.scores, expected["scores"].numpy(), rtol=1e-4)
    runtime.close()


def test_half_precision_is_what_autocast_makes_of_the_network(program):
    """To the last bit, though the weights were cast once and softmax asks for float32."""
    answers = TorchRuntime(program, "cpu", 1, "bf16").run(images(4))

    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = ServingGraph().eval()(torch.from_numpy(images(4)))
    np.testing.assert_array_equal(answers.scores, expected["scores"].numpy())
    exact = TorchRuntime(program, "cpu", 1, "fp32").run(images(4))
    np.testing.assert_allclose(answers.scores, exact.scores, atol=0.02)
    assert not np.array_equal(answers.scores, exact.scores)


def test_weights_are_cast_once_where_only_such_operators_read_them(program):
    """Normalisation keeps float32, as under autocast."""
    runtime = TorchRuntime(program, "cpu", 1, "bf16")

    types = {name: one.dtype for name, one in runtime._module.named_parameters()}

    assert {types[f"{layer}.weight"] for layer in ("convolution", "linear")} == {torch.bfloat16}
    assert types["norm.weight"] == torch.float32


# How many images


def test_the_largest_batch_is_the_programs_own(program, tmp_path):
    """So that none beyond it is tried; where it has no limit there is none."""
    assert TorchRuntime(program, "cpu", 1, "fp32").largest_batch == LARGEST
    unlimited = export(tmp_path / "any.pt2", largest=None)
    assert TorchRuntime(unlimited, "cpu", 1, "fp32").largest_batch is None


def test_a_batch_is_padded_within_the_programs_range():
    """To powers of two, but not past what the program takes."""
    batches = BatchRange(2, 6)

    assert [batches.padded(count) for count in range(1, 7)] == [2, 2, 4, 4, 6, 6]
    assert [BatchRange().padded(count) for count in (1, 3, 65)] == [1, 4, 128]
    with pytest.raises(ValueError, match="7 images at once; this program takes 6"):
        batches.padded(7)


def test_a_single_image_is_answered_by_a_program_for_two_and_more(program, tmp_path):
    """It is padded, and the padding is cut off."""
    runtime = TorchRuntime(export(tmp_path / "two.pt2", least=2), "cpu", 1, "fp32")

    answers = runtime.run(images(1))

    expected = TorchRuntime(program, "cpu", 1, "fp32").run(images(1))
    np.testing.assert_array_equal(answers.indices, expected.indices)
    np.testing.assert_allclose(answers.scores, expected.scores, rtol=1e-5)


def test_a_program_with_a_fixed_batch_is_refused(tmp_path):
    """In one line that says how to export it instead."""
    file = export(tmp_path / "fixed.pt2", least=None)

    with pytest.raises(PackageError, match=r"fixed\.pt2: its batch is fixed at 2; export it with"):
        TorchRuntime(file, "cpu", 1, "fp32")


# Memory


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "Tried to"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you"), "Default"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "CUBLAS_STATUS"),
        (RuntimeError("first line\ncuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "CUDNN_STATUS"),
        (MemoryError(), "no memory"),
    ],
)
def test_without_memory_a_smaller_batch_may_be_tried(program, monkeypatch, error, said):
    """Whichever library lacks it: it becomes the error that batches are halved on."""
    runtime = TorchRuntime(program, "cpu", 1, "fp32")

    def exhausted(_: torch.Tensor) -> None:
        raise error

    monkeypatch.setattr(runtime, "_module", exhausted)
    with pytest.raises(OutOfMemoryError, match=said):
        runtime.run(images(2))


def test_an_error_for_want_of_memory_keeps_no_tensor_alive(program, monkeypatch):
    """Or the smaller batch would have even less."""
    runtime = TorchRuntime(program, "cpu", 1, "fp32")
    kept: list[weakref.ref[torch.Tensor]] = []

    def exhausted(_: torch.Tensor) -> None:
        large = torch.zeros(8)
        kept.append(weakref.ref(large))
        raise RuntimeError("out of memory")

    monkeypatch.setattr(runtime, "_module", exhausted)
    with pytest.raises(OutOfMemoryError) as raised:
        runtime.run(images(2))
    gc.collect()
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)
    assert kept[0]() is None


def test_other_errors_stay_what_they_are(program, monkeypatch):
    """They are not for want of memory, and the batch's images are tried one by one."""
    runtime = TorchRuntime(program, "cpu", 1, "fp32")
    monkeypatch.setattr(runtime, "_module", lambda _: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        runtime.run(images(2))


def test_a_gpu_that_is_not_there_is_an_error(program):
    """Never the CPU instead."""
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(StartupError, match="finds no such GPU"):
        TorchRuntime(program, "cuda", 1, "fp32")


# What would run code


@pytest.mark.parametrize("change", [pickled_weight, custom_object])
def test_a_program_with_pickled_objects_is_refused(program, tmp_path, change):
    """Before the loader sees it; one line that names the entry."""
    evil = rewritten(program, tmp_path / "evil.pt2", change)

    with pytest.raises(PackageError, match=r"evil\.pt2: .*config\.json: .*could run code"):
        TorchRuntime(evil, "cpu", 1, "fp32")


def test_sample_inputs_are_never_read(program, tmp_path):
    """Serving has no use for them, and PyTorch would unpickle them."""
    evil = rewritten(program, tmp_path / "evil.pt2", pickled_inputs)

    TorchRuntime(evil, "cpu", 1, "fp32").run(images(2))


def test_guards_are_never_run(program, tmp_path):
    """They are Python, which PyTorch would execute on every batch."""
    marker = tmp_path / "was_run"

    def guarded(document: dict) -> None:
        document["guards_code"] = [f"__import__('pathlib').Path({str(marker)!r}).touch() is None"]

    evil = rewritten(program, tmp_path / "evil.pt2", in_document(guarded))

    TorchRuntime(evil, "cpu", 1, "fp32").run(images(2))
    assert not marker.exists()


def code(marker: Path) -> str:
    """An expression that leaves a trace."""
    return f"__import__('pathlib').Path({str(marker)!r}).touch()"


def size_expression(document: dict, marker: Path) -> None:
    """A size that sympy would evaluate."""
    for meta in document["graph_module"]["graph"]["tensor_values"].values():
        for size in meta["sizes"]:
            if "as_expr" in size:
                size["as_expr"]["expr_str"] = f"{code(marker)} or {size['as_expr']['expr_str']}"


def input_name(document: dict, marker: Path) -> None:
    """The name of an input, which would be a parameter of generated code, with a default."""
    text = json.dumps(document).replace('"image"', f'"image={code(marker)}"')
    document.update(json.loads(text))


def argument_name(document: dict, marker: Path) -> None:
    """The same by another list."""
    entry = document["graph_module"]["module_call_graph"][0]["signature"]
    entry["forward_arg_names"] = [f"image={code(marker)}"]


def weight_name(document: dict, marker: Path) -> None:
    """A weight whose name would be code where it is fetched."""
    text = json.dumps(document).replace("linear.weight", f'linear.w\\") or {code(marker)}#')
    document.update(json.loads(text))


def imported_module(document: dict, marker: Path) -> None:
    """An output whose key is an enumeration, of a module that would be imported."""
    (marker.parent / "evil_module.py").write_text(code(marker) + "\nclass Evil: pass\n")
    key = {"__enum__": True, "fqn": "evil_module:Evil", "name": "A"}
    entry = document["graph_module"]["module_call_graph"][0]["signature"]
    protocol, tree = json.loads(entry["out_spec"])
    tree["context"] = json.dumps([key, "scores"])
    entry["out_spec"] = json.dumps([protocol, tree])


def imported_factory(document: dict, marker: Path) -> None:
    """Another kind of dictionary, which imports what makes its values."""
    (marker.parent / "evil_module.py").write_text(code(marker) + "\nclass Evil: pass\n")
    entry = document["graph_module"]["module_call_graph"][0]["signature"]
    protocol, tree = json.loads(entry["out_spec"])
    tree["type"] = "collections.defaultdict"
    tree["context"] = {
        "default_factory_module": "evil_module",
        "default_factory_name": "Evil",
        "dict_context": json.dumps(["indices", "scores"]),
    }
    entry["out_spec"] = json.dumps([protocol, tree])


def shell(document: dict, marker: Path) -> None:
    """An operator that is no operator."""
    call = node("torch.serialization.os.system", ("", {"as_string": f"touch {marker}"}))
    document["graph_module"]["graph"]["nodes"].append(call)


def file_writer(document: dict, marker: Path) -> None:
    """An operator of PyTorch's own that writes files."""
    item, name = (
        ("item", {"as_tensor": {"name": "image"}}),
        ("filename", {"as_string": str(marker)}),
    )
    call = node("torch.ops.aten.save.default", item, name)
    document["graph_module"]["graph"]["nodes"].append(call)


def file_reader(document: dict, marker: Path) -> None:
    """One that maps a file, and makes it if it is not there."""
    arguments = [
        ("filename", {"as_string": str(marker)}),
        ("shared", {"as_bool": True}),
        ("size", {"as_int": 8}),
    ]
    call = node("torch.ops.aten.from_file.default", *arguments)
    document["graph_module"]["graph"]["nodes"].append(call)


# PyTorch 2.13 alone was seen to run what is in these …
TRAPS = [size_expression, input_name, imported_module, imported_factory, file_reader]
# … and stumbles over these, which have no place in a serving graph either.
STRANGERS = [argument_name, weight_name, shell, file_writer]


@pytest.mark.parametrize("trap", TRAPS + STRANGERS)
def test_a_program_that_would_run_code_is_refused(program, tmp_path, monkeypatch, trap):
    """By every way there is from its description into Python."""
    monkeypatch.syspath_prepend(tmp_path)
    marker = tmp_path / "was_run"
    change = in_document(lambda document: trap(document, marker))
    evil = rewritten(program, tmp_path / "evil.pt2", change)

    with pytest.raises(PackageError, match=r"evil\.pt2: \w+/models/model\.json: "):
        TorchRuntime(evil, "cpu", 1, "fp32")
    assert not marker.exists()


@pytest.mark.parametrize(
    "expression",
    [
        "lambda: 1",
        "Symbol('s1').__class__",
        "Symbol('x')",
        "Symbol('s1', cls=Integer)",
        "Integer('2')",
        "Integer(True)",
        "Pow(Integer(9), Integer(9))",
        "Integer(99999999999999999999)",
        "Add(" * 500 + "Integer(1)" + ")" * 500,
        "Add(*Integer(1))",
        "[Integer(1)][0]",
        "Integer(1) if Integer(1) else Integer(2)",
        "",
    ],
)
def test_a_size_is_made_of_integers_and_symbols_only(expression):
    """Whatever else an expression may be is refused."""
    with pytest.raises(RefusedError, match="which is no size"):
        cleaned(expression, "expr_str")


def test_a_size_is_written_anew():
    """So that sympy reads what was read here, whatever surrounds it."""
    assert cleaned("Mul( Integer(-2),Symbol('u1'))  # more\n", "expr_str") == (
        "Mul(Integer(-2), Symbol('u1'))"
    )


def test_what_is_loaded_is_what_was_checked(program, tmp_path):
    """Though PyTorch would read another archive out of the same file."""
    shown = rewritten(program, tmp_path / "shown.pt2", lambda _, content: content)
    hidden = rewritten(program, tmp_path / "hidden.pt2", pickled_weight)
    file = two_in_one(shown, hidden, tmp_path / "two.pt2")
    weight = "data/weights/weight_0"
    assert b"code was run" in PT2ArchiveReader(str(file)).read_bytes(weight)

    answers = TorchRuntime(file, "cpu", 1, "fp32").run(images(2))

    expected = TorchRuntime(program, "cpu", 1, "fp32").run(images(2))
    np.testing.assert_array_equal(answers.scores, expected.scores)


def test_an_entry_that_is_there_twice_or_compressed_is_refused(program, tmp_path):
    """Readers differ in which of them they take, and may unpack without end."""
    twice = tmp_path / "twice.pt2"
    twice.write_bytes(program.read_bytes())
    with zipfile.ZipFile(twice, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(archive.namelist()[0], b"")
    packed = tmp_path / "packed.pt2"
    with zipfile.ZipFile(program) as old, zipfile.ZipFile(packed, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name), zipfile.ZIP_DEFLATED)

    with pytest.raises(PackageError, match="two of this name"):
        TorchRuntime(twice, "cpu", 1, "fp32")
    with pytest.raises(PackageError, match="compressed"):
        TorchRuntime(packed, "cpu", 1, "fp32")


def test_an_entry_of_another_kind_is_refused(program, tmp_path):
    """Such as weights in the older format, which is a pickle as a whole."""
    evil = tmp_path / "evil.pt2"
    evil.write_bytes(program.read_bytes())
    with zipfile.ZipFile(evil, "a") as archive:
        archive.writestr(f"{Path(archive.namelist()[0]).parent}/model.pt", b"")

    with pytest.raises(PackageError, match=r"weights/model\.pt: this entry is not expected"):
        TorchRuntime(evil, "cpu", 1, "fp32")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04."])
def test_a_file_that_is_no_program_is_refused(tmp_path, content):
    """One line."""
    file = tmp_path / "model.pt2"
    file.write_bytes(content)

    with pytest.raises(PackageError, match=r"not a torch\.export program"):
        TorchRuntime(file, "cpu", 1, "fp32")


# On a GPU

on_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that PyTorch can use"),
]
CLOSE = {"fp32": 1e-3, "fp16": 0.02, "bf16": 0.05}  # TF32 convolutions have ten bits


def compare(program: Path, precision: str, run) -> None:
    """What ``run(runtime, images)`` gives on a GPU against the CPU, in batches that come and go."""
    gpu, cpu = TorchRuntime(program, "cuda", 1, precision), TorchRuntime(program, "cpu", 1, "fp32")
    for count in (1, 8, 1, 4, 3, 1):
        answers, expected = run(gpu, images(count)), cpu.run(images(count))
        clear = expected.scores[:, 0] - expected.scores[:, 1] > 2 * CLOSE[precision]
        np.testing.assert_allclose(answers.scores, expected.scores, atol=CLOSE[precision])
        np.testing.assert_array_equal(answers.indices[clear, 0], expected.indices[clear, 0])
        again = run(gpu, images(count))  # nothing of the batch before is left
        np.testing.assert_array_equal(again.scores, answers.scores)
        np.testing.assert_array_equal(again.indices, answers.indices)
    gpu.close()


@pytest.mark.parametrize("precision", [pytest.param(p, marks=on_gpu) for p in CLOSE])
def test_a_gpu_answers_as_the_cpu_does(program, precision):
    """Also when a captured batch size is used again, and filled in part."""
    compare(program, precision, lambda gpu, batch: gpu.run(batch))


@pytest.mark.parametrize("precision", [pytest.param(p, marks=on_gpu) for p in CLOSE])
def test_a_batch_that_was_copied_ahead_is_answered_the_same(program, precision):
    """Row by row, into two buffers in turn, the second while the first is run."""
    buffers: list[np.ndarray] = []

    def run(gpu: TorchRuntime, batch: np.ndarray):
        buffers[:] = buffers or [gpu.allocate((8, SIZE, SIZE, 3)) for _ in range(2)]
        buffers.reverse()
        buffer, other = buffers
        for row, image in enumerate(batch):
            buffer[row] = image
            gpu.ahead(buffer, row, row + 1)
        gpu.ahead(other, 0, len(other))
        answers = gpu.run(buffer[: len(batch)])
        plain = gpu.run(batch)
        np.testing.assert_array_equal(answers.indices, plain.indices)
        np.testing.assert_allclose(answers.scores, plain.scores, atol=1e-6)
        return answers

    compare(program, precision, run)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that PyTorch can use")
def test_what_was_not_copied_ahead_is_answered_too(program):
    """As when a batch is halved, or before it is used: it is copied then."""
    gpu = TorchRuntime(program, "cuda", 1, "fp32")
    buffer = gpu.allocate((8, SIZE, SIZE, 3))
    buffer[:] = images(8)
    expected = gpu.run(images(8))
    gpu.ahead(buffer, 0, 8)

    part = gpu.run(buffer[4:])
    buffer[:4] = images(8)[4:]
    gpu.ahead(buffer, 0, 4)
    moved = gpu.run(buffer[:4])
    buffer[:4] = images(8)[:4]
    plain = gpu.run(buffer[:4])

    np.testing.assert_array_equal(part.indices, expected.indices[4:])
    np.testing.assert_array_equal(moved.indices, expected.indices[4:])
    np.testing.assert_array_equal(plain.indices, expected.indices[:4])
    gpu.close()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that PyTorch can use")
def test_a_gpu_without_memory_says_so_and_goes_on(tmp_path):
    """With smaller batches, which are still answered."""
    gpu = TorchRuntime(export(tmp_path / "any.pt2", largest=None), "cuda", 1, "fp32")
    expected = gpu.run(images(4))
    torch.cuda.set_per_process_memory_fraction(64 * 2**20 / torch.cuda.mem_get_info()[1])
    try:
        with pytest.raises(OutOfMemoryError):
            gpu.run(np.zeros((2**17, SIZE, SIZE, 3), np.uint8))
        np.testing.assert_array_equal(gpu.run(images(4)).scores, expected.scores)
        gpu.run(images(3))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        gpu.close()
