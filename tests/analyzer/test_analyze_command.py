"""``millrace analyze`` as a user types it."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys

import pytest

from analyzer import speed_pod
from analyzer.accuracy import accuracy
from analyzer.local import Place
from analyzer.result import Result
from analyzer.speed import DEFAULT_TIMING
from analyzer.write import write_tables
from analyzer.write_all import read_result
from analyzer.write_stale import remove_stale
from millrace.cli import main
from model_store.package import load_package
from model_store.packaging import package
from model_store.registry.registering import register
from model_store.registry.versions import Registry
from model_store.request import PackageRequest
from tests.analyzer.answers import predictions
from tests.analyzer.colour_sets import (
    HERE,
    files,
    local,
    picture,
    surveyed,
    write_folder,
    write_zip,
)
from tests.cli.test_commands import millrace
from tests.conftest import COLOURS, as_version, colour_image, quiet
from tests.end_to_end.conftest import pod as pod

PLAIN = predictions([0, 1], [[0], [1]], [[0.9], [0.8]])
# Red passes for blue in one of ten, and one file is broken.
WRONG = {"red/wrong.png": picture("blue", 9), "green/broken.png": b"no image"}


@pytest.fixture
def folder(tmp_path):
    """Thirty images of each colour, one of a wrong class, one broken."""
    return write_folder(tmp_path / "colours-set", files(30) | WRONG)


def analyze(colours, *arguments, code=0):
    """Without speed, unless it is asked for."""
    store = colours.path.parents[1]
    return millrace("analyze", "--store", store, "--no-speed", *arguments, code=code)


def result_in(folder) -> Result:
    """What was written."""
    return read_result(folder / "result.json")


def rows_of(file):
    """Of a CSV table."""
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_an_analysis_writes_a_report_a_result_and_tables(colours, folder, tmp_path):
    """And says the main figures."""
    out = tmp_path / "out"

    ran = analyze(colours, "--model", "colours", "--dataset", folder, "--out", out)

    assert "98.9%" in ran.stdout
    assert "91 of 92" in ran.stdout
    assert "colours-set: error: 1 of 92 images have no answer" in ran.stdout
    result = result_in(out)
    (evaluation,) = result.evaluations
    assert evaluation.accuracy.top[0].hits.count == 90
    assert evaluation.accuracy.judged == 91
    assert evaluation.parity is not None
    assert result.models[0].input == "16x16 RGB, exact, bilinear"
    assert result.datasets[0].classes == {"blue": 30, "green": 31, "red": 31}
    assert result.datasets[0].with_truth == 92
    assert (out / "report.html").stat().st_size > 10_000
    by_file = {row["file"]: row for row in rows_of(out / "predictions-colours-colours-set.csv")}
    assert by_file["red/wrong.png"]["label1"] == "blue"
    assert by_file["red/wrong.png"]["right"] == "0"
    assert "not an image" in by_file["green/broken.png"]["error"]
    assert [row["images"] for row in rows_of(out / "classes-colours-colours-set.csv")] == [
        "31", "30", "30",
    ]  # fmt: skip
    assert {tuple(row.values()) for row in rows_of(out / "confusion-colours-colours-set.csv")} == {
        ("red", "red", "30"), ("red", "blue", "1"), ("green", "green", "30"),
        ("blue", "blue", "30"),
    }  # fmt: skip


def test_images_of_classes_that_the_model_does_not_have_are_told(colours, tmp_path):
    """Beside the accuracy, which says nothing of them."""
    purple = {f"purple/{number}.png": picture("red", 90 + number) for number in range(5)}
    folder = write_folder(tmp_path / "more", files(2) | purple)

    ran = analyze(colours, "--model", "colours", "--dataset", folder, "--out", tmp_path / "out")

    assert "11 of 11, 5 of unknown class" in ran.stdout


def test_models_and_datasets_are_all_paired_and_models_compared(colours, folder, tmp_path):
    """A version beside the champion, on a folder and a zip."""
    store = tmp_path / "store"
    old, new = as_version(colours, 1, store), as_version(colours, 2, store)
    zipped = write_zip(tmp_path / "more.zip", files(4))

    ran = analyze(
        old, "--model", "colours/2", "--champion", "colours/1",
        "--dataset", folder, "--dataset", f"zipped={zipped}", "--out", tmp_path / "out", "--json",
    )  # fmt: skip

    found = json.loads(ran.stdout)
    assert [(one["model"], one["dataset"]) for one in found["evaluations"]] == [
        ("colours/2", "colours-set"), ("colours/1", "colours-set"),
        ("colours/2", "zipped"), ("colours/1", "zipped"),
    ]  # fmt: skip
    result = result_in(tmp_path / "out")
    assert [(one.first, one.second, one.dataset) for one in result.agreements] == [
        ("colours/1", "colours/2", "colours-set"), ("colours/1", "colours/2", "zipped"),
    ]  # fmt: skip
    assert result.agreements[0].same.rate == 1.0
    assert load_package(new.path).version == "2"


def test_variants_are_models_of_their_own(tmp_path):
    """With ``--variant`` for all, or with # for one."""
    calibration = write_folder(tmp_path / "calibration", files(8))
    (tmp_path / "labels.txt").write_text("\n".join(COLOURS))
    from onnx import save_model

    from tests.conftest import colour_network

    save_model(colour_network(), str(tmp_path / "colour.onnx"))
    request = PackageRequest(
        source=tmp_path / "colour.onnx", name="colours", labels=tmp_path / "labels.txt",
        parity_images=calibration, scale=1 / 255, variants=("fp32", "fp16"),
        calibration_images=calibration,
    )  # fmt: skip
    made = package(request, tmp_path / "store", quiet)
    for arguments, names in (
        (["--model", "colours", "--variant", "all"], ["colours#fp32", "colours#fp16"]),
        (["--model", "colours#fp16"], ["colours"]),
        (["--model", "colours", "--model", "colours#fp16"], ["colours#fp32", "colours#fp16"]),
    ):
        analyze(made, *arguments, "--dataset", calibration, "--out", tmp_path / "out")
        assert [model.name for model in result_in(tmp_path / "out").models] == names
    assert result_in(tmp_path / "out").models[1].precision == "fp16"


def test_an_endpoint_is_a_model_like_others(colours, pod, folder, tmp_path):
    """Beside its own package: both say the same, and the pod its stages."""
    analyze(
        colours, "--model", "colours", "--model", f"{pod.url}/v2/models/colours",
        "--dataset", folder, "--out", tmp_path / "out",
    )  # fmt: skip

    result = result_in(tmp_path / "out")
    assert [model.name for model in result.models] == ["colours", f"colours at {pod.http}"]
    assert result.agreements[0].same.rate == 1.0
    assert len(result.speeds[f"colours at {pod.http}"].stages) == 7


def test_speed_is_measured_unless_it_is_declined(colours, folder, tmp_path):
    """By batch sizes and stages."""
    millrace(
        "analyze", "--model", colours.path, "--dataset", folder, "--out", tmp_path / "out",
        "--device", "cpu",
    )  # fmt: skip

    speed = result_in(tmp_path / "out").speeds["colours"]
    assert [batch.batch_size for batch in speed.variants[0].batches] == [1, 2, 4, 8, 16, 32]
    assert speed.cores_per_device > 0


def test_the_speed_of_a_pod_is_measured_whatever_models_are_to_be_called(
    colours, folder, tmp_path, monkeypatch
):
    """And what stops it is a note: the answers are there already, and are written."""
    from analyzer import run_analysis

    monkeypatch.setenv("MILLRACE_MODEL_NAME", "web")
    monkeypatch.setattr("analyzer.speed_pod.ASKED_S", 1.0)
    seen, model = surveyed(folder), local(colours)
    served = speed_pod.stages(model, seen)
    model.place = Place("rocm", 1, HERE.limits, scaled=True)
    failed = run_analysis._speeds([model], seen, {}, quiet, DEFAULT_TIMING)["colours"]

    assert served["stages"]
    assert "not measured: colours: device rocm: this ONNX Runtime has no" in failed.note
    assert failed.variants == ()


@pytest.fixture
def registered(colours, registry_server, monkeypatch):
    """A package in a registry, by its URI."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry_server.uri)
    found = register(Registry(registry_server.uri), colours, "analyzed", "champion", {})
    return f"models:/{found.name}@champion"


def test_a_model_may_lie_in_a_registry(registered, folder, tmp_path, monkeypatch):
    """By its alias, as elsewhere; it is fetched."""
    monkeypatch.setenv("MILLRACE_CACHE", str(tmp_path / "cache"))
    millrace(
        "analyze", "--model", registered, "--dataset", folder, "--out", tmp_path / "out",
        "--no-speed",
    )  # fmt: skip

    (model,) = result_in(tmp_path / "out").models
    assert (model.source, model.name) == (registered, "analyzed")


def test_robustness_is_measured_when_it_is_asked_for(colours, tmp_path):
    """In the report, and with a sheet that shows what was done; the second time it is known."""
    folder = write_folder(tmp_path / "set", files(3) | WRONG)
    arguments = ["--model", "colours", "--dataset", folder, "--out", tmp_path / "out"]

    analyze(colours, *arguments, "--robustness")
    first = result_in(tmp_path / "out").evaluations[0].robustness
    kept = {file: file.stat().st_mtime_ns for file in tmp_path.glob("out/predictions/robust*/**/*")}
    analyze(colours, *arguments, "--robustness")

    assert first.against == "truth"
    assert first.clean.of == 10
    assert len({point.augmentation for point in first.points}) == 17
    assert result_in(tmp_path / "out").evaluations[0].robustness == first
    assert kept
    assert all(file.stat().st_mtime_ns == written for file, written in kept.items())
    assert (tmp_path / "out" / "charts" / "augmentations.png").stat().st_size > 10_000


@pytest.mark.parametrize(("at_least", "code"), [(0.9, 0), (0.97, 1)])
def test_a_gate_decides_the_exit_code(colours, folder, tmp_path, at_least, code):
    """By bounds: 90 of 91 do not show 97 %."""
    gate = tmp_path / "gate.yaml"
    gate.write_text(f"absolute: {{top1: {{at_least: {at_least}}}, unanswered: {{at_most: 0.1}}}}\n")

    ran = analyze(
        colours, "--model", "colours", "--dataset", folder, "--out", tmp_path / "out",
        "--gate", gate, code=code,
    )  # fmt: skip

    assert f"gate {'FAILED' if code else 'passed'}" in ran.stdout
    assert result_in(tmp_path / "out").gate.passed is not bool(code)


def test_earlier_results_are_kept_to_compare_with(colours, folder, tmp_path):
    """In the folder, by when they were made; others by --history."""
    out = tmp_path / "out"
    arguments = ["--model", "colours", "--dataset", folder, "--out"]
    analyze(colours, *arguments, out)
    first = result_in(out)
    analyze(colours, *arguments, out)
    analyze(colours, *arguments, tmp_path / "other", "--history", out / "result.json")

    (earlier,) = (out / "history").glob("*.json")
    assert read_result(earlier) == first
    page = (tmp_path / "other" / "report.html").read_text(encoding="utf-8")
    assert result_in(out).created in page


def test_what_another_model_left_in_the_folder_is_removed(colours, folder, tmp_path):
    """And nothing that somebody else put there."""
    out = tmp_path / "out"
    analyze(colours, "--model", "colours", "--dataset", folder, "--out", out)
    (out / "predictions-mine.csv").write_text("mine")
    stale = {file.name for file in [*out.glob("*.csv"), *out.glob("charts/*")]}
    analyze(colours, "--model", "colours", "--dataset", f"other={folder}", "--out", out)

    left = {file.name for file in [*out.glob("*.csv"), *out.glob("charts/*")]}
    assert "predictions-colours-other.csv" in left
    assert left & stale == {"predictions-mine.csv"}


def test_a_list_of_files_from_elsewhere_removes_nothing_else(tmp_path):
    """Whatever stands in it."""
    out = tmp_path / "out"
    keep = [tmp_path / "a.csv", out / "x" / "y" / "b.csv", out / "result.json"]
    for file in keep:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("keep")
    names = ["../a.csv", str(tmp_path / "a.csv"), "x/y/b.csv", "result.json", 3]
    (out / ".written.json").write_text(json.dumps(names))

    remove_stale([], out)

    assert all(file.exists() for file in keep)


def test_names_that_spreadsheets_would_compute_are_quoted_and_escaped(colours, tmp_path):
    """In the tables, and on a terminal."""
    named = {"red/=1+1.png": picture("red", 1), "red/\x1b[2Jbroken.png": b"none"}
    out = tmp_path / "out"
    ran = analyze(
        colours, "--model", "colours", "--dataset", write_folder(tmp_path / "=set", named),
        "--out", out,
    )  # fmt: skip

    table = next(out.glob("predictions-*.csv"))
    assert "\x1b" not in ran.stdout
    assert "\\x1b[2Jbroken.png" in ran.stdout
    assert rows_of(table)[1]["file"] == "red/=1+1.png"
    write_tables(
        [dataclasses.replace(PLAIN, names=("=1+1", "-2"), labels=("+a", "b", "c"))],
        [accuracy(PLAIN)], tmp_path,
    )  # fmt: skip
    rows = rows_of(next(tmp_path.glob("predictions-*.csv")))
    assert [row["file"] for row in rows] == ["'=1+1", "-2"]
    assert rows[0]["label1"] == "'+a"


def test_an_analysis_that_is_stopped_goes_on(colours, tmp_path):
    """Ctrl-C in the middle, and the same command again."""
    folder = write_folder(tmp_path / "set", files(400))
    command = [
        sys.executable, "-m", "millrace", "analyze", "--model", str(colours.path), "--no-speed",
        "--dataset", str(folder), "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not list((tmp_path / "out").glob("predictions/*/rows.npy")):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        stderr = process.communicate()[1]
    assert process.returncode in (0, 130)  # it may have been quicker
    assert "Traceback" not in stderr

    analyze(colours, "--model", "colours", "--dataset", folder, "--out", tmp_path / "out")

    assert result_in(tmp_path / "out").evaluations[0].accuracy.answered == 1200
    assert len(list((tmp_path / "out" / "predictions").iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "nobody", "--dataset", "{set}"], "no model 'nobody'"),
        (["--model", "colours", "--dataset", "nowhere"], "no dataset 'nowhere'"),
        (["--model", "colours#int4", "--dataset", "{set}"], "has no 'int4'"),
        (["--model", "http://127.0.0.1:9/v2/models/m", "--dataset", "{set}"], "cannot be asked"),
        (["--model", "colours", "--dataset", "{set}", "--device", "tpu"], "'tpu' is none of"),
        (["--model", "colours", "--dataset", "{set}", "--gate", "none.yaml"], "none.yaml"),
        (["--model", "colours", "--dataset", "{set}", "--labels", "none.txt"], "none.txt"),
        (["--model", "colours", "--dataset", "{set}", "--hierarchy", "none.csv"], "none.csv"),
        (["--model", "colours", "--dataset", "{set}", "--history", "none.json"], "none.json"),
        (["--model", "colours", "--dataset", "{set}", "--champion", "colours", "--gate", "{gate}"],
         "a gate judges models beside the champion"),
        (["--model", "colours", "--dataset", "{set}", "--gate", "{gate}"],
         "top1: no dataset 'photos' is analysed; there are colours-set"),
        (["--model", "http://[::1/v2/models/x", "--dataset", "{set}"], "http://[::1"),
        (["--model", "colours"], "--dataset"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line_and_exit_code_2(
    colours, folder, tmp_path, arguments, words, monkeypatch, capsys
):
    """And leaves no result."""
    gate = tmp_path / "gate.yaml"
    gate.write_text("absolute: {top1: {at_least: 0.5, datasets: [photos]}}\n")
    given = [argument.format(set=folder, gate=gate) for argument in arguments]
    store, out = str(colours.path.parents[1]), str(tmp_path / "out")
    monkeypatch.setattr(
        sys, "argv", ["millrace", "analyze", "--store", store, "--out", out, *given]
    )

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1 or said.startswith("Usage")
    assert not (tmp_path / "out").exists()  # nothing was classified


def test_without_its_extra_the_command_says_what_to_install(folder, tmp_path):
    """In one line."""
    without = (
        "import sys; sys.modules['scipy'] = None; "
        f"sys.argv = 'millrace analyze --model m --dataset {folder} --out o'.split(); "
        "from millrace.cli import main; main()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", without], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 2
    assert ran.stderr == "millrace: needs scipy: install millrace[analyzer]\n"


def test_an_analysis_is_logged_to_mlflow(colours, folder, tmp_path):
    """Figures, parameters and files, to the run that the environment says."""
    pytest.importorskip("mlflow")
    command = [
        sys.executable, "-m", "millrace", "analyze", "--model", str(colours.path), "--no-speed",
        "--dataset", str(folder), "--out", str(tmp_path / "out"), "--mlflow", "--json",
    ]  # fmt: skip
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_NAME": "colours"}
    ran = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    run_id = json.loads(ran.stdout)["mlflow_run"]
    look = (
        "import sys, mlflow; r = mlflow.get_run(sys.argv[1]); "
        "print(r.data.metrics['colours/colours-set/top1'], r.data.params['dataset0'][:11], "
        "*sorted(f.path for f in mlflow.MlflowClient().list_artifacts(sys.argv[1])))"
    )
    seen = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", look, run_id],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip

    assert seen[0] == str(90 / 91)
    assert seen[1] == "colours-set"
    assert {"report.html", "result.json", "classes-colours-colours-set.csv"} <= set(seen[2:])
    assert "predictions" not in seen[2:]


def test_progress_is_lines_where_there_is_no_terminal(capsys, monkeypatch):
    """A few seconds apart, on stderr."""
    from millrace.analyze_progress import Display

    monkeypatch.setattr("millrace.analyze_progress.EVERY_S", 0.0)
    with Display() as progress:
        progress("[red] on set", 3, 10)

    assert capsys.readouterr() == ("", "[red] on set: 3 of 10\n")


def test_a_colour_image_is_what_the_model_says(colours, tmp_path):
    """A plain folder: answers without truths."""
    folder = write_folder(tmp_path / "plain", {"a.jpg": colour_image("red")})

    analyze(colours, "--model", "colours", "--dataset", folder, "--out", tmp_path / "out")

    (evaluation,) = result_in(tmp_path / "out").evaluations
    assert (evaluation.accuracy.answered, evaluation.accuracy.judged) == (1, 0)
    (row,) = rows_of(tmp_path / "out" / "predictions-colours-plain.csv")
    assert (row["truth"], row["right"], row["label1"]) == ("", "", "red")
