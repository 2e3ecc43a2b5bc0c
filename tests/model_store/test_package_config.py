"""The configuration file of ``millrace package``, its schema, and the dry run."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import jsonschema_rs
import onnx
import pytest
import torch
import yaml

from millrace.package import command
from millrace.package_config import keys, schema
from tests.model_store import torch_networks
from tests.model_store.test_package_command import run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(bench, tiny) -> Path:
    """A file that says everything about the tiny network, source included."""
    onnx.save_model(tiny.model(), str(bench.folder / "tiny.onnx"))
    file = bench.folder / "package.yaml"
    content = {
        "source": "tiny.onnx",
        "name": "tiny",
        "labels": "labels.txt",
        "parity-images": "images",
        "scale": "1/16",
        "mean": [4, 6, 8],
        "store": "store",
    }
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def test_the_committed_schema_is_the_one_in_the_code():
    """``millrace package --schema > docs/package.schema.json``."""
    committed = (ROOT / "docs" / "package.schema.json").read_text(encoding="utf-8")
    assert run("--schema").stdout == committed
    assert json.loads(committed) == schema(command)
    jsonschema_rs.meta.validate(json.loads(committed))


def test_every_flag_has_a_key_with_a_description():
    """But those that are about the run and not about the package."""
    flags = {str(p.name).replace("_", "-") for p in command.params}
    properties = schema(command)["properties"]
    assert flags - set(properties) == {"config", "schema", "dry-run", "json-wanted"}
    assert len(keys(command)) == len(properties)
    assert all(each["description"] for each in properties.values())


def test_examples_in_the_docs_fit_the_schema():
    """Each YAML block that is such a file."""
    text = (ROOT / "docs" / "packaging.md").read_text(encoding="utf-8")
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    validator = jsonschema_rs.validator_for(schema(command))
    assert [block for block in blocks if not validator.is_valid(block)] == []
    assert len(blocks) >= 1


@pytest.mark.parametrize(
    ("key", "value"),
    [("mean", "dark"), ("channels", "GBR"), ("variants", ["int4"]), ("labls", "x"), ("top-k", 0)],
)
def test_an_editor_sees_what_the_command_would_refuse(config, key, value):
    """The schema and the command agree."""
    content = yaml.safe_load(config.read_text(encoding="utf-8")) | {key: value}
    assert not jsonschema_rs.validator_for(schema(command)).is_valid(content)
    config.write_text(yaml.safe_dump(content), encoding="utf-8")
    ran = millrace("package", "--config", config)
    assert ran.returncode == 2
    assert key in ran.stderr


def test_a_file_alone_is_enough(bench, config):
    """Source and store in it start at the file, as every path does."""
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    assert jsonschema_rs.validator_for(schema(command)).is_valid(content)
    ran = run("--config", config)
    assert f"tiny version 1: {bench.store / 'tiny' / '1'}" in ran.stdout


def test_a_factory_in_a_file_is_imported_from_the_current_folder(bench, tmp_path):
    """Its arguments are a mapping there, or YAML as a flag; a typing error in them is one line."""
    code = Path(torch_networks.__file__).read_text(encoding="utf-8")
    (tmp_path / "my_networks.py").write_text(code, encoding="utf-8")
    torch.save(torch_networks.resnet20(4).state_dict(), bench.folder / "weights.pt")
    content = {
        "source": "my_networks:resnet20",
        "checkpoint": "weights.pt",
        "factory-args": {"classes": 4},
        "name": "own",
        "labels": "labels.txt",
        "parity-images": "images",
        "input-size": 32,
        "scale": "1/255",
    }
    file = bench.folder / "package.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert jsonschema_rs.validator_for(schema(command)).is_valid(content)
    ran = millrace("package", "--config", file, "--dry-run", "--json", cwd=tmp_path)
    assert ran.stderr == ""
    planned = json.loads(ran.stdout)
    assert (planned["source_kind"], planned["variants"]) == ("factory", ["fp32", "pt2"])
    wrong = millrace("package", "--config", file, "--factory-args", "{depth: 3}", cwd=tmp_path)
    (line,) = wrong.stderr.splitlines()
    assert "unexpected keyword argument 'depth'" in line
    broken = millrace("package", "--config", file, "--factory-args", "[", cwd=tmp_path)
    assert broken.returncode == 2
    assert "is no YAML" in broken.stderr


def test_a_dry_run_says_what_would_be_made_and_writes_nothing(bench, config):
    """Version, source, input, classes, variants, images of each set."""
    run("--config", config)
    before = bench.left_behind()
    given = ("--config", config, "--dry-run", "--variants", "int8")
    given += ("--calibration-images", bench.folder / "images")
    lines = run(*given).stdout.splitlines()
    assert lines[0] == f"tiny version 2 would be made: {bench.store / 'tiny' / '2'}"
    assert [line.split()[0] for line in lines[1:6]] == [
        *("source", "input", "classes", "variants", "images"),
    ]
    assert lines[5].split(maxsplit=1)[1] == "5 for parity, 3 to make variants with, 2 held out"
    planned = json.loads(run(*given, "--json").stdout)
    assert planned["version"] == "2"
    assert planned["variants"] == ["fp32", "int8"]
    assert planned["images"] == {"parity": 5, "calibration": 3, "held_out": 2}
    assert bench.left_behind() == before


def test_a_dry_run_in_an_empty_store_does_not_make_it(bench, config):
    """Nor the folder of the model."""
    run("--config", config, "--dry-run")
    assert not bench.store.exists()


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--name", "No Name"), "'No Name' is no model name"),
        (("--variants", "int8"), "give --calibration-images"),
        (("--variants", "pt2"), "pt2 is made of a PyTorch source"),
        (("--parity-images", "nowhere"), "nowhere: "),
        (("--store", __file__), "cannot be written"),
        (("--scores", "probabilities"), "are no probabilities"),
        (("--top-k", "9"), "--top-k 9 of 4 classes"),
    ],
)
def test_a_dry_run_refuses_what_packaging_would(config, flags, reason):
    """In the same line, with the same exit code."""
    ran = millrace("package", "--config", config, "--dry-run", *flags)
    assert ran.returncode == 2
    (line,) = ran.stderr.splitlines()
    assert reason in line
    assert ran.stdout == ""


@pytest.mark.parametrize("most_bytes", [200, 5000])
def test_no_room_for_a_file_leaves_nothing_half_written(bench, config, most_bytes):
    """As on a full disk: one line, and the store is as it was."""
    images = ("--calibration-images", bench.folder / "images", "--variants", "fp16,int8")
    ran = millrace(
        "package", "--config", config, *images, limit=(resource.RLIMIT_FSIZE, most_bytes)
    )
    assert ran.returncode == 2
    (line,) = ran.stderr.splitlines()
    assert "File too large" in line or "cannot be prepared" in line
    assert bench.left_behind() == []


def test_without_pytorch_onnx_is_packaged_and_the_rest_says_what_to_install(bench, config):
    """PyTorch is an extra: half precision and 8 bits of ONNX do without it."""
    (bench.folder / "torch.py").write_text("raise ImportError('no torch here')", encoding="utf-8")
    images = ("--calibration-images", bench.folder / "images", "--variants", "fp16,int8")
    made = millrace("package", "--config", config, *images, path=bench.folder)
    assert made.returncode == 0, made.stderr
    checkpoint = ("any:factory", "--checkpoint", "any.pt", "--input-size", "8")
    refused = millrace("package", *checkpoint, "--config", config, path=bench.folder)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert line == "millrace: any:factory: needs PyTorch: install millrace[torch]"


def millrace(
    *arguments: object,
    cwd: Path | None = None,
    limit: tuple[int, int] | None = None,
    path: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """The whole command in a process of its own, under a limit of the kernel's.

    ``path`` comes first where Python looks for modules.
    """
    roots = [str(root) for root in (path, os.environ.get("PYTHONPATH", ROOT)) if root]

    def bound() -> None:
        if limit is not None:
            resource.setrlimit(limit[0], (limit[1], limit[1]))

    return subprocess.run(
        [sys.executable, "-m", "millrace", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        preexec_fn=bound,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(roots)},
    )
