"""Steps as functions: what they find, refuse, and leave behind."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest

from analyzer.predictions import Predictions
from model_store.package import ModelPackage
from model_store.registry.registering import register
from model_store.registry.versions import Registry
from pipelines import tasks
from pipelines.errors import PipelineError
from pipelines.record import Record
from pipelines.steps import artifacts
from pipelines.steps.pinning import Pins, pin
from pipelines.steps.place import where
from pipelines.steps.registration import register_challenger
from rollout.sites import Pods, Service
from tests.analyzer.colour_sets import files, write_folder
from tests.conftest import colour_network, package_colours, quiet
from tests.registry.server import free_port


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """An embedded one."""
    return Registry(f"sqlite:///{tmp_path}/mlflow.db", create=True)


@pytest.fixture
def made(tmp_path: Path) -> ModelPackage:
    """A package, with what it was made from beside its store."""
    write_folder(tmp_path / "data", files(2))
    return package_colours(tmp_path, colour_network(), "colours")


@pytest.fixture
def pinned(made: ModelPackage, registry: Registry, tmp_path: Path):
    """Pins what a test changes meanwhile."""

    def look(
        champion: str = "", datasets: tuple[str, ...] = ("data",), **packaging: object
    ) -> Pins:
        return pin(
            "colours",
            str(tmp_path / "colour.onnx"),
            tmp_path / "labels.txt",
            tmp_path / "images",
            packaging,
            [str(tmp_path / each) for each in datasets],
            champion,
            registry.uri,
            quiet,
        )

    return look


def test_what_has_not_changed_is_pinned_to_the_same(pinned):
    """So that cached steps are found again."""
    assert pinned() == pinned()
    assert pinned().champion == ""


def test_a_file_that_was_overwritten_is_something_else(pinned, tmp_path):
    """Under the same name: network, labels, images and settings count for the package."""
    before = pinned()
    assert pinned(scale="1/255").source != before.source
    for file in ("labels.txt", "images/red.jpg"):
        seen = pinned()
        (tmp_path / file).write_bytes((tmp_path / file).read_bytes() + b"\n")
        assert pinned().source != seen.source
    assert pinned().data == before.data
    write_folder(tmp_path / "data", {"red/0000.png": (tmp_path / "images/red.jpg").read_bytes()})
    assert pinned().data != before.data


def test_weights_beside_the_network_that_were_overwritten_are_something_else(pinned, tmp_path):
    """As PyTorch exports them: the .onnx file of a network that was trained on is the same."""
    network = onnx.load(tmp_path / "colour.onnx")
    onnx.save(
        network,
        tmp_path / "colour.onnx",
        save_as_external_data=True,
        location="colour.onnx.data",
        size_threshold=0,
    )
    before, graph = pinned(), (tmp_path / "colour.onnx").read_bytes()
    assert pinned() == before
    data = tmp_path / "colour.onnx.data"
    data.write_bytes(bytes(byte ^ 1 for byte in data.read_bytes()))
    assert (tmp_path / "colour.onnx").read_bytes() == graph
    assert pinned().source != before.source
    data.unlink()
    with pytest.raises(PipelineError, match=r"its weights are missing: .*colour\.onnx\.data"):
        pinned()


def test_what_a_factory_makes_is_made_each_time(registry, made, tmp_path):
    """Nobody knows what its module imports; one in a package is as good as any."""
    arguments = ("colours", "nets.small:make", tmp_path / "labels.txt", tmp_path / "images")
    (tmp_path / "weights.pth").write_bytes(b"weights")
    packaging = {"checkpoint": str(tmp_path / "weights.pth"), "input-size": 8}
    more = ([str(tmp_path / "data")], "", registry.uri, quiet)
    first, second = (pin(*arguments, packaging, *more) for _ in range(2))
    assert first.source != second.source
    assert first.data == second.data


def test_what_is_no_network_is_said_before_anything_is_made(pinned, tmp_path):
    """Not there, or no ONNX."""
    (tmp_path / "colour.onnx").write_bytes(b"no network")
    with pytest.raises(PipelineError, match="is not an ONNX file"):
        pinned()
    (tmp_path / "colour.onnx").unlink()
    with pytest.raises(PipelineError, match="no such file, folder or module:factory"):
        pinned()


def test_versions_of_another_registry_are_others(pinned, tmp_path, registry):
    """Though their numbers are the same; credentials in its address are not looked at."""
    before = pinned()
    object.__setattr__(registry, "uri", f"sqlite:///{tmp_path}/other.db")
    assert (pinned().source, pinned().data) != (before.source, before.data)


def test_a_champion_is_pinned_to_its_number(pinned, made, registry):
    """The alias may move while the run goes on."""
    register(registry, made, alias="champion")
    assert pinned().champion == "models:/colours/1"
    register(registry, made, alias="champion")
    assert (pinned().champion, pinned().replaces) == ("models:/colours/2", "2")
    assert pinned(champion="models:/colours/1").champion == "models:/colours/1"
    assert pinned(champion="models:/colours/1").replaces == ""


def test_two_datasets_of_one_name_are_refused(pinned):
    """Their answers would be taken for each other's."""
    with pytest.raises(PipelineError, match="two are called 'data'; write one as OTHER=SOURCE"):
        pinned(datasets=("data", "data"))


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ({}, "either pod or service"),
        ({"pod": "http://p:1", "service": "s"}, "either pod or service"),
        ({"pod": "http://p:1"}, "pod_store and repository_token_file"),
        ({"sevice": "s"}, "unknown key 'sevice'; known: pod"),
        ({"service": "s", "keep_name": "yes"}, "keep_name is true or false, not 'yes'"),
        ({"service": "s", "prometheus": "http://bob:s3cret@p:9090"}, "prometheus_token_file names"),
        ({"service": "s", "gateway_address": "http://bob:s3cret@g"}, "leave name and password"),
        (
            {
                "pod": "http://p:1,http://b:s3cret@p:2",
                "pod_store": "s",
                "repository_token_file": "t",
            },
            "pod: leave name and password out",
        ),
    ],
)
def test_a_place_that_is_none_is_said(place, said):
    """Before hours are spent on what is to go there."""
    with pytest.raises(PipelineError, match=said) as refused:
        where(place)
    assert "s3cret" not in str(refused.value)


def test_a_place_is_pods_or_a_service():
    """As the rollout has them."""
    pods = where({"pod": "http://a:1, http://b:2", "pod_store": "s", "repository_token_file": "t"})
    assert pods.site == Pods(("http://a:1", "http://b:2"), Path("s"), Path("t"))
    service = where({"service": "s", "namespace": "shop", "gateway_address": "http://10.0.0.7"})
    assert service.site == Service(namespace="shop", address="http://10.0.0.7")


@pytest.mark.parametrize(("given", "keeps"), [("true", True), (True, True), ("false", False)])
def test_a_promotion_can_keep_the_names_of_pods(given, keeps):
    """For who scales them by name; KFP's pages take true without quotes."""
    assert where({"service": "s", "keep_name": given}).site == Service(keep_name=keeps)


def test_a_step_that_is_tried_again_registers_nothing_twice(made, registry):
    """By the run's key."""
    first = register_challenger(made, "colours", registry.uri, "run 1")
    again = register_challenger(made, "colours", registry.uri, "run 1")
    other = register_challenger(made, "colours", registry.uri, "run 2")
    assert (first.version, again.version, other.version) == ("1", "1", "2")
    assert registry.aliases("colours") == {"challenger": "2"}


def test_what_failed_is_no_challenger_and_its_run_says_so(made, registry, tmp_path, capsys):
    """Though the place does not answer; the run has ended, and has failed."""
    register_challenger(made, "colours", registry.uri, "run 1")
    (tmp_path / "token").write_text("a token")
    place = {
        "pod": f"http://127.0.0.1:{free_port()}",
        "pod_store": str(tmp_path / "pod"),
        "repository_token_file": str(tmp_path / "token"),
    }
    page = tmp_path / "summary.md"
    run = tasks.Run("colours", registry.uri, "run 1")

    found = tasks.conclude(run, place, "the pod was killed", str(page))

    assert (found.outcome, found.why, found.version) == ("failed", "the pod was killed", "1")
    assert registry.aliases("colours") == {}
    assert page.read_text().startswith("# failed")
    info = registry.client.get_run(found.run_id).info
    assert (info.status, Record("colours", "run 1", registry.uri).run_id) == (
        "FAILED",
        found.run_id,
    )
    assert "is no challenger any more" in capsys.readouterr().out


def test_a_challenger_of_somebody_else_stays(made, registry):
    """Only what this run registered is taken back."""
    register_challenger(made, "colours", registry.uri, "run 1")
    register_challenger(made, "colours", registry.uri, "run 2")
    tasks.conclude(tasks.Run("colours", registry.uri, "run 1"), {}, "stopped")
    assert registry.aliases("colours") == {"challenger": "2"}


def predictions(scores: list[float], truth: list[int]) -> Predictions:
    """Of a model that says how likely "yes" is."""
    yes = np.array(scores, dtype=np.float32)
    best = (yes >= 0.5).astype(np.int64)
    return Predictions(
        model="m",
        dataset="d",
        labels=("no", "yes"),
        names=tuple(map(str, range(len(scores)))),
        truth=np.array(truth, dtype=np.int64),
        indices=np.stack([best, 1 - best], axis=1),
        scores=np.stack([np.maximum(yes, 1 - yes), np.minimum(yes, 1 - yes)], axis=1),
        errors=("",) * len(scores),
    )


def test_a_roc_curve_is_that_of_the_second_class():
    """Against scikit-learn's, point by point."""
    from sklearn.metrics import auc, roc_auc_score

    random = np.random.default_rng(3)
    truth = random.integers(0, 2, 500)
    scores = np.clip(random.normal(0.4 + 0.2 * truth, 0.2), 0.01, 0.99)

    found = artifacts.roc(predictions(scores.tolist(), truth.tolist()))

    assert found is not None
    area = auc(found.false_positive_rates, found.true_positive_rates)
    assert area == pytest.approx(roc_auc_score(truth, scores), abs=0.005)
    assert (found.false_positive_rates[0], found.true_positive_rates[-1]) == (0, 1)
    assert all(np.isfinite(found.thresholds))


def test_without_two_classes_and_images_of_both_there_is_no_roc_curve():
    """Of one class there is nothing to tell apart."""
    both = predictions([0.2, 0.7], [0, 1])
    assert artifacts.roc(both) is not None
    assert artifacts.roc(predictions([0.2, 0.7], [1, 1])) is None
    assert artifacts.roc(dataclasses.replace(both, labels=("a", "b", "c"))) is None


def test_of_many_classes_the_confused_ones_are_shown():
    """All images are counted; what is not shown is together."""
    classes = [_Class(f"class {number}") for number in range(100)]
    mistakes = ((7, 93, 5), (50, 51, 3))
    right = tuple((number, number, 2) for number in range(100))
    accuracy = _Accuracy(classes, (*right, *mistakes))

    found = artifacts.confusion(accuracy)

    assert len(found.labels) == artifacts.MOST_CLASSES
    assert found.labels[-1] == artifacts.OTHERS
    assert sum(map(sum, found.matrix)) == 208
    row, column = found.labels.index("class 7"), found.labels.index("class 93")
    assert found.matrix[row][column] == 5


@dataclasses.dataclass
class _Class:
    """A class' figures, as far as they are looked at."""

    label: str


@dataclasses.dataclass
class _Accuracy:
    """An accuracy, as far as it is looked at."""

    classes: list[_Class]
    confusion: tuple[tuple[int, int, int], ...]
