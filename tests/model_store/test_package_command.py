"""``millrace package`` and ``millrace models`` as a user types them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result

from millrace import models
from millrace import package as package_command
from model_store.errors import SourceError
from model_store.package import load_package, read_manifest

MOBILENET_FLAGS = [
    *("--name", "mobilenet", "--input-size", "224", "--resize", "shortest-side:256"),
    *("--crop", "224", "--channels", "RGB", "--mean", "127.5", "--std", "127.5"),
    *("--class-offset", "1"),
]


def run(*arguments: object, command: object = package_command.command) -> Result:
    """The command's result; what it refuses is raised."""
    return CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)


def millrace(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The whole command in a process of its own."""
    whole = [sys.executable, "-m", "millrace", *map(str, arguments)]
    return subprocess.run(whole, capture_output=True, text=True, cwd=cwd, check=False)


@pytest.fixture
def given(bench, tiny):
    """Flags that every run on the tiny network needs."""
    source = bench.folder / "tiny.onnx"
    onnx.save_model(tiny.model(), str(source))
    return [
        source,
        *("--name", "tiny", "--labels", bench.folder / "labels.txt"),
        *("--parity-images", bench.folder / "images", "--store", bench.store),
    ]


def test_summary_says_what_was_made(assets, tmp_path):
    """Name, version, path, classes, parity and what the golden images are taken for."""
    result = run(
        assets / "models" / "mobilenet_v2.onnx",
        *MOBILENET_FLAGS,
        *("--labels", assets / "models" / "imagenet_labels.txt"),
        *("--parity-images", assets / "images" / "photos", "--store", tmp_path),
    )
    assert result.exit_code == 0
    assert f"mobilenet version 1: {tmp_path / 'mobilenet' / '1'}" in result.stdout
    assert "classes  1000" in result.stdout
    assert "top-1 agreement 100.0%" in result.stdout
    assert "golden/3.png: tabby" in result.stdout


def test_result_is_json_for_scripts(given):
    """Stdout is one JSON object; progress goes to stderr."""
    result = run(*given, "--json")
    made = json.loads(result.stdout)
    assert (made["name"], made["version"], made["classes"]) == ("tiny", "1", 4)
    assert load_package(Path(made["path"])).name == "tiny"


def test_numbers_may_be_fractions_and_single(given, bench):
    """--scale 1/255 is exact; one mean stands for three."""
    run(*given, "--scale", "1/255", "--mean", "0.5", "--std", ".1,.2,1/4", "--channels", "BGR")
    original = read_manifest(bench.store / "tiny" / "1").input.original
    assert original.scale == 1 / 255
    assert original.mean == (0.5, 0.5, 0.5)
    assert original.std == (0.1, 0.2, 0.25)


def test_yaml_stands_for_flags_and_flags_win(given, bench):
    """Keys are the flags' names; paths in the file start at the file."""
    config = bench.folder / "tiny.yaml"
    config.write_text(
        "labels: labels.txt\nparity-images: images\nname: fromyaml\nscale: 1/255\n"
        "mean: [0.1, 0.2, 0.3]\nresize: letterbox\ntop-k: 2\ninput-size: 8\n",
        encoding="utf-8",
    )
    result = run(given[0], "--config", config, "--top-k", 3, "--store", bench.store)
    assert result.exit_code == 0
    manifest = read_manifest(bench.store / "fromyaml" / "1")
    assert manifest.input.original.mean == (0.1, 0.2, 0.3)
    assert manifest.input.resize.policy == "letterbox"
    assert manifest.top_k == 3


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("colour: RGB\n", "unknown key 'colour'"),
        ("- a\n", "must hold"),
        ("a: [\n", "cannot be read"),
        ("a: 2026-99-99\n", "cannot be read: holds a malformed value: month must be"),
        ("[" * 5000, "cannot be read: is nested too deeply"),
        ('labels: "a\\0b"\n', r"a\\x00b': is no path: it holds a NUL"),
        ('store: "a\\0b"\n', r"a\\x00b': is no path: it holds a NUL"),
    ],
)
def test_yaml_that_is_not_understood_is_refused(content, reason, given, bench):
    """A misspelt key never passes for a default."""
    config = bench.folder / "bad.yaml"
    config.write_text(content, encoding="utf-8")
    with pytest.raises(SourceError, match=reason):
        run(*given, "--config", config)


@pytest.mark.parametrize("flag", ["--labels", "--parity-images", "--store"])
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_path_that_is_too_long_is_refused(flag, dry, given):
    """As one that is not there."""
    with pytest.raises(SourceError, match="aaa…': is no path"):
        run(*given, flag, "a" * 300, *dry)


def test_a_source_of_too_long_a_name_is_refused(given):
    """As one that is not there."""
    with pytest.raises(SourceError, match="aaa…': is no path"):
        run("a" * 300, *given[1:])


@pytest.mark.parametrize(
    ("flag", "value", "reason"),
    [
        ("--mean", "1,2", "has 2 numbers"),
        ("--scale", "1/0", "is no number"),
        ("--scale", "nan", "is no number"),
        ("--input-size", "0", "is no size"),
        ("--resize", "shortest-side", "is not shortest-side:SIZE"),
        ("--resize", "crop:224", "is not shortest-side:SIZE"),
        ("--channels", "GRB", "'RGB', 'BGR'"),
    ],
)
def test_flag_that_is_not_understood_is_a_usage_error(flag, value, reason, given):
    """Exit code 2, and what would be right."""
    result = run(*given, flag, value)
    assert result.exit_code == 2
    assert reason in result.stderr


def test_parity_images_are_required_and_explained(bench):
    """The help says why real images are needed."""
    result = run(bench.folder / "x.onnx", "--name", "x", "--labels", bench.folder / "labels.txt")
    assert result.exit_code == 2
    assert "--parity-images" in result.stderr
    assert "golden set" in " ".join(run("--help").stdout.split())


def test_refusals_are_one_line_with_an_exit_code(given, bench, tiny):
    """2 for what cannot be used, 1 for an answer that is no; nothing on stdout."""
    cut = bench.folder / "cut.onnx"
    cut.write_bytes(tiny.model().SerializeToString()[:60])
    broken = millrace("package", cut, *given[1:], cwd=bench.folder)
    mean = bench.folder / "mean.onnx"
    onnx.save_model(tiny.but(batch_mean=True).model(), str(mean))
    depends = millrace("package", mean, *given[1:], "--scale", "1/16", cwd=bench.folder)
    assert (broken.returncode, depends.returncode) == (2, 1)
    for result in (broken, depends):
        assert result.stdout == ""
        assert result.stderr.startswith("millrace: ")
        assert len(result.stderr.splitlines()) == 1
    assert not bench.store.exists() or bench.left_behind() == []


def test_sigterm_leaves_nothing_behind(given, bench):
    """A cluster ends a job so; what was half made, and the work beside it, goes as at Ctrl-C."""
    labels = bench.folder / "slow.txt"
    os.mkfifo(labels)
    work = bench.folder / "tmp"
    work.mkdir()
    whole = [sys.executable, "-m", "millrace", "package", *given, "--labels", labels]
    with (
        subprocess.Popen(
            [str(part) for part in whole],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(work)},
        ) as process,
        labels.open("wb"),  # which waits until the labels are being read
    ):
        assert list(bench.store.glob("tiny/.staging-*")) != []
        assert list(work.glob("tmp*")) != []
        process.terminate()
        stdout, stderr = process.communicate()
    assert (process.returncode, stdout, stderr) == (143, b"", b"")
    assert bench.left_behind() == []
    assert list(work.glob("tmp*")) == []


def test_list_shows_every_version(packages, store):
    """As a table and as JSON; an empty store says so."""
    listed = run("list", "--store", store, "--json", command=models.command)
    assert [row["name"] for row in json.loads(listed.stdout)] == [
        "mobilenet",
        "resnet20",
        "squeezenet",
    ]
    table = run("list", "--store", store, command=models.command).stdout
    assert "224x224" in table
    assert "fp16" in table
    none = run("list", "--store", store / "none", command=models.command)
    assert (none.exit_code, none.stdout) == (0, f"no models in {store / 'none'}\n")


def test_show_prints_the_manifest(packages, store):
    """By name, as YAML or JSON."""
    shown = run("show", "squeezenet", "--store", store, "--json", command=models.command)
    assert json.loads(shown.stdout)["input"]["original"]["channels"] == "BGR"
    assert (
        "channels: BGR"
        in run("show", "squeezenet/1", "--store", store, command=models.command).stdout
    )


def test_verify_accepts_sound_packages(packages, store):
    """Hashes and golden images of all of them."""
    result = run("verify", "--all", "--store", store, command=models.command)
    assert result.exit_code == 0
    assert result.stdout.count(": ok\n") == 3


def test_verify_finds_a_changed_file(packages, tmp_path):
    """One flipped byte in the network: exit code 1 and the file's name."""
    copied = tmp_path / "resnet20"
    shutil.copytree(packages["resnet20"].path, copied)
    network = copied / "fp32.onnx"
    content = bytearray(network.read_bytes())
    content[len(content) // 2] ^= 1
    network.write_bytes(content)
    result = run("verify", copied, "--json", command=models.command)
    assert result.exit_code == 1
    (found,) = json.loads(result.stdout)
    assert found["ok"] is False
    assert "fp32.onnx: changed since packaging" in found["error"]


def test_verify_finds_a_wrong_answer(packages, tmp_path):
    """A manifest whose golden answer is not what the network gives, though all hashes fit."""
    copied = tmp_path / "resnet20"
    shutil.copytree(packages["resnet20"].path, copied)
    manifest = copied / "model.yaml"
    golden = read_manifest(copied).golden[0]
    best, second = golden.indices[:2]
    text = manifest.read_text(encoding="utf-8")
    swapped = text.replace(f"  - {best}\n  - {second}\n", f"  - {second}\n  - {best}\n", 1)
    assert swapped != text
    manifest.write_text(swapped, encoding="utf-8")
    result = run("verify", copied, command=models.command)
    assert result.exit_code == 1
    assert f"golden/0.png gets class {best}, expected {second}" in result.stdout


def test_verify_needs_to_be_told_what(store):
    """Neither nothing nor both."""
    assert run("verify", "--store", store, command=models.command).exit_code == 2
    assert run("verify", "x", "--all", "--store", store, command=models.command).exit_code == 2
