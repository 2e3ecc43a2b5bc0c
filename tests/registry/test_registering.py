"""A package becomes a version of a registered model, and MLflow's own tools work on it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import mlflow
import pandas as pd
import pytest

from model_store.errors import RegistryError
from model_store.package import (
    MANIFEST_FILE,
    Comparison,
    Measured,
    Proof,
    Variant,
    sha256_of,
)
from model_store.registry.fetch import fetch_package
from model_store.registry.figures import figures
from model_store.registry.reference import ModelReference
from model_store.registry.registering import register
from model_store.registry.versions import SHA256_TAG, Registry
from predictor import mlflow_model
from predictor.errors import BadImageError
from tests.conftest import COLOURS, colour_image
from tests.registry.server import free_port

IMAGES = pd.DataFrame({"image": [colour_image(colour) for colour in COLOURS]})


@pytest.fixture
def loaded(put, registry_server, monkeypatch):
    """The registered package as MLflow loads it."""
    found = put(alias="champion")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry_server.uri)
    return mlflow.pyfunc.load_model(f"models:/{found.name}@champion")


def test_every_file_of_the_package_becomes_an_artifact(put, colours, registry, registry_server):
    """And no other file; what MLflow needs lies beside them."""
    (colours.path / "notes.txt").write_text("not of the package", encoding="utf-8")
    try:
        found = put()
    finally:
        (colours.path / "notes.txt").unlink()

    (run,) = registry_server.artifacts.glob(f"*/{found.source.split('/')[-3]}")
    model = run / "artifacts" / "model"
    there = {str(f.relative_to(model)) for f in model.rglob("*") if f.is_file()}
    package = {f"data/package/{file}" for file in (MANIFEST_FILE, *colours.manifest.files)}
    assert {file for file in there if file.startswith("data/")} == package
    assert {"MLmodel", "input_example.json", "requirements.txt"} <= there


def test_tags_say_what_the_package_is_worth(put, colours):
    """Its hash, its parity, its variants; and the gate's result as it was given."""
    found = put(**{"millrace.gate": "passed", "millrace.gate.accuracy": "0.98"})

    assert found.sha256 == sha256_of(colours.path / MANIFEST_FILE)
    assert found.tags["millrace.variants"] == "fp32"
    assert found.tags["millrace.classes"] == "3"
    assert float(found.tags["millrace.parity.top1_agreement"]) == 1.0
    assert found.tags["millrace.gate.accuracy"] == "0.98"


def test_variants_of_one_precision_have_figures_of_their_own(colours):
    """An ONNX graph and a PyTorch program: none takes the other's tags."""
    compared = Comparison(
        images=9, top1_agreement=1, mean_score_difference=0, max_score_difference=0
    )
    first = colours.manifest.variants[0]
    made = [first]
    for file, runtime, precision, times in (
        ("fp16.onnx", "onnx", "fp16", 1.5),
        ("fp16.pt2", "torch", "fp16", 2.5),
        ("model.pt2", "torch", "fp32", 0.5),
        ("another.pt2", "torch", "bf16", 3.5),
        ("bf16.pt2", "torch", "bf16", 4.5),
    ):
        measured = Measured(
            device="cpu", threads=1, images_per_second={8: 9}, times_the_first={8: times}
        )
        proof = Proof(calibration=compared, held_out=compared, measured=measured)
        made.append(Variant(file=file, runtime=runtime, precision=precision, proof=proof))

    told = figures(colours.manifest.model_copy(update={"variants": tuple(made)}))

    assert told["millrace.variants"] == "fp32,fp16,pt2-fp16,pt2,another.pt2,bf16.pt2"
    assert {key: told[key] for key in told if key.endswith("times_the_first")} == {
        "millrace.variant.fp16.times_the_first": "1.5",
        "millrace.variant.pt2-fp16.times_the_first": "2.5",
        "millrace.variant.pt2.times_the_first": "0.5",
        "millrace.variant.another.pt2.times_the_first": "3.5",
        "millrace.variant.bf16.pt2.times_the_first": "4.5",
    }


def test_versions_are_numbered_and_the_alias_is_moved(put, registry, name):
    """The second version is 2, champion points to it, and previous to the first."""
    assert put(alias="champion").version == "1"
    assert put(alias="champion").version == "2"

    assert registry.aliases(name) == {"champion": "2", "previous": "1"}


def test_mlflow_loads_a_package_and_classifies_with_it(loaded):
    """Encoded images in a table, the predictions of v1 out."""
    answers = loaded.predict(IMAGES)

    assert list(answers["label"]) == list(COLOURS)
    assert list(answers["index"]) == [0, 1, 2]
    assert [len(top) for top in answers["top"]] == [3, 3, 3]
    assert answers["top"][2][0] == {
        "label": "blue",
        "index": 2,
        "score": pytest.approx(answers["score"][2]),
    }


def test_mlflow_takes_the_number_of_classes_as_a_parameter(loaded):
    """As the signature has it."""
    answers = loaded.predict(IMAGES, params={"top_k": 1})

    assert [len(top) for top in answers["top"]] == [1, 1, 1]


def test_a_broken_image_is_named_by_its_row(loaded):
    """One line; MLflow passes it on."""
    broken = pd.DataFrame({"image": [colour_image("red"), b"no image"]})

    with pytest.raises(Exception, match="row 1: not an image in a known format"):
        loaded.predict(broken)


def test_text_is_base64_and_never_a_file(colours):
    """Whoever asks a scoring server does not get to name files of its machine."""
    model = mlflow_model._load_pyfunc(str(colours.path))
    encoded = base64.b64encode(colour_image("green")).decode()

    assert list(model.predict(pd.DataFrame({"image": [encoded]}))["label"]) == ["green"]
    file = str(colours.path / colours.manifest.golden[0].file)
    with pytest.raises(BadImageError, match="row 0: "):
        model.predict(pd.DataFrame({"image": [file]}))
    with pytest.raises(BadImageError, match="row 0: the image must be bytes, not int"):
        model.predict(pd.DataFrame({"image": [7]}))


def test_the_signature_and_the_example_are_the_ones_of_the_serving_contract(
    loaded, colours, name, registry, registry_server
):
    """MLflow shows them in its page, and validates by them."""
    metadata = loaded.metadata

    assert metadata.signature.inputs.to_dict() == [
        {"type": "binary", "name": "image", "required": True}
    ]
    assert [column.name for column in metadata.signature.outputs] == [
        "label",
        "index",
        "score",
        "top",
    ]
    run = registry.find(ModelReference(name, "1")).source.split("/")[-3]
    (file,) = registry_server.artifacts.glob(f"*/{run}/artifacts/model/input_example.json")
    example = json.loads(file.read_text(encoding="utf-8"))
    assert example["columns"] == ["image"]
    assert base64.b64decode(example["data"][0][0]) == (colours.path / "golden/0.jpg").read_bytes()


def test_mlflow_loads_a_package_without_unpickling(put, registry_server):
    """In a process in which every unpickling is an error."""
    found = put()
    program = (
        "import pickle, cloudpickle, sys\n"
        "def refuse(*_, **__): raise SystemExit('unpickled')\n"
        "import mlflow, mlflow.pyfunc, pandas\n"
        "pickle.load = pickle.loads = cloudpickle.load = cloudpickle.loads = refuse\n"
        "pickle.Unpickler = refuse\n"
        f"mlflow.set_tracking_uri({registry_server.uri!r})\n"
        f"model = mlflow.pyfunc.load_model({str(found.reference)!r})\n"
        "image = sys.stdin.buffer.read()\n"
        "print(model.predict(pandas.DataFrame({'image': [image]}))['label'][0])\n"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program],
        input=colour_image("green"),
        capture_output=True,
        check=False,
    )

    assert (ran.stdout.decode().split()[-1:], ran.returncode) == (["green"], 0), ran.stderr


def test_mlflows_scoring_server_classifies(put, registry_server):
    """``mlflow models serve`` in this environment; images as base64 in JSON."""
    found = put()
    port = free_port()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it runs uvicorn
    serving = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"),
            *("-m", str(found.reference), "-h", "127.0.0.1", "-p", str(port)),
        ],
        env={**os.environ, "MLFLOW_TRACKING_URI": registry_server.uri, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        while serving.poll() is None:
            try:
                if httpx.get(f"{url}/ping").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        rows = [[base64.b64encode(image).decode()] for image in IMAGES["image"]]
        body = {"dataframe_split": {"columns": ["image"], "data": rows}}
        assert serving.poll() is None
        answer = httpx.post(f"{url}/invocations", json=body, timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(serving.pid, signal.SIGKILL)
        output = serving.communicate()[0]

    assert answer.status_code == 200, output
    assert [row["label"] for row in answer.json()["predictions"]] == list(COLOURS)


def test_a_name_that_no_url_could_have_is_refused(registry, colours):
    """Before anything is uploaded."""
    with pytest.raises(RegistryError, match="'My Model' is no model name"):
        register(registry, colours, "My Model")


def test_what_the_registry_refuses_leaves_no_version(put, registry, colours, name):
    """The files that were uploaded go with their run; nobody finds half a version."""
    put()
    experiment = registry.client.get_experiment_by_name("millrace").experiment_id
    runs = {run.info.run_id for run in registry.client.search_runs([experiment])}
    tag = {"millrace.gate": "x" * 200_000}  # longer than MLflow takes

    with pytest.raises(RegistryError, match="exceed"):
        register(registry, colours, name, tags=tag)

    after = {run.info.run_id for run in registry.client.search_runs([experiment])}
    assert len(registry.versions(name)) == 1
    assert after == runs


def test_an_embedded_registry_keeps_all_of_it_in_one_folder(colours, tmp_path, cache):
    """Sqlite and a folder of artifacts beside it, made when something is registered."""
    uri = f"sqlite:///{tmp_path}/var/mlflow.db"
    with pytest.raises(RegistryError, match=r"no registry at .* yet: `millrace models register`"):
        Registry(uri)

    embedded = Registry(uri, create=True)
    found = register(embedded, colours)

    package = fetch_package(embedded.find(ModelReference("colours", "1")), embedded, cache)
    assert package.labels == colours.labels
    assert sorted(path.name for path in (tmp_path / "var").iterdir()) == ["artifacts", "mlflow.db"]
    assert found.tags[SHA256_TAG] == found.sha256
    assert json.loads(json.dumps(found.tags)) == found.tags
