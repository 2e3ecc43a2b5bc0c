"""Packages are fetched whole and right, once, and go on where they were broken off."""

from __future__ import annotations

import multiprocessing
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from model_store.errors import NotRegisteredError, RegistryDownError, RegistryError
from model_store.package import load_package, sha256_of
from model_store.registry import versions as versions_module
from model_store.registry.artifacts import FolderArtifacts, open_artifacts
from model_store.registry.cache import Cache
from model_store.registry.fetch import fetch_model_folder, fetch_package
from model_store.registry.location import locate
from model_store.registry.reference import ModelReference, RunReference, parse
from model_store.registry.registering import PACKAGE_FOLDER, register
from model_store.registry.versions import SHA256_TAG, Registry
from tests.conftest import colour_network, package_colours

BALLAST_BYTES = 3_000_000


@pytest.fixture(scope="module")
def heavy(tmp_path_factory):
    """The network of colours with weights that nobody needs: its graph is 3 MB."""
    network = colour_network()
    noise = np.random.default_rng(1).integers(0, 256, BALLAST_BYTES, dtype=np.uint8)
    network.graph.initializer.append(numpy_helper.from_array(noise, "ballast"))
    network.graph.node.append(onnx.helper.make_node("ReduceMax", ["ballast_f"], ["most"]))
    network.graph.node.insert(
        0, onnx.helper.make_node("Cast", ["ballast"], ["ballast_f"], to=onnx.TensorProto.FLOAT)
    )
    network.graph.node.append(onnx.helper.make_node("Mul", ["most", "zero"], ["nothing"]))
    network.graph.initializer.append(numpy_helper.from_array(np.float32(0), "zero"))
    last = next(node for node in network.graph.node if node.output[0] == "logits")
    last.output[0] = "bare"
    network.graph.node.append(onnx.helper.make_node("Add", ["bare", "nothing"], ["logits"]))
    return package_colours(tmp_path_factory.mktemp("heavy"), network, "heavy")


@pytest.fixture
def through(way):
    """The registry by the way that can be broken."""
    return Registry(way.uri)


def partial_bytes(cache: Cache) -> int:
    """How much has been fetched of files that are not whole."""
    return sum(file.stat().st_size for file in (cache.folder / "partial").iterdir())


def test_a_fetched_package_bears_the_name_and_number_it_is_registered_by(
    put, registry, cache, colours, name
):
    """The manifest is the package's own in all else."""
    put()
    package = fetch_package(put(), registry, cache)

    assert (package.name, package.version) == (name, "2")
    own = colours.manifest.model_copy(update={"name": name, "version": 2})
    assert package.manifest == own
    assert package.path.is_relative_to(cache.folder)


def test_what_is_cached_is_not_fetched_again(put, heavy, through, cache, way):
    """Nor for another version that has the same files."""
    fetch_package(through.find(put(heavy).reference), through, cache)
    fetched, way.passed = way.passed, 0

    fetch_package(through.find(put(heavy).reference), through, cache)

    assert fetched > BALLAST_BYTES
    assert way.passed < 100_000


def test_a_download_that_breaks_off_is_taken_up_where_it_was(put, heavy, through, cache, way):
    """The server hands out the rest alone; not a byte of the beginning comes twice."""
    found = through.find(put(heavy).reference)
    way.allow(2_000_000)
    with pytest.raises(RegistryDownError):
        fetch_package(found, through, cache)
    before = partial_bytes(cache)
    way.allow(None)
    way.passed = 0

    package = fetch_package(found, through, cache)

    assert before > 1_000_000
    assert way.passed < BALLAST_BYTES - before + 300_000
    assert load_package(package.path).manifest.files == heavy.manifest.files
    assert partial_bytes(cache) == 0


def test_a_break_is_got_over_within_one_fetch(put, heavy, through, cache, way):
    """The registry is back before the last try."""
    found = through.find(put(heavy).reference)
    waited: list[float] = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        way.allow(None)

    way.allow(1_500_000)
    package = fetch_package(found, through, Cache(cache.folder, pause))

    assert package.labels == heavy.labels
    assert waited == [0.5]


def test_a_registry_that_dies_during_a_download_is_told_in_one_line(
    put, heavy, registry_server, cache, tmp_path, way, through
):
    """By the command; nothing half-written is where packages are; exit code 2."""
    found = put(heavy)
    way.allow(1_000_000)

    ran = subprocess.run(
        [
            *(sys.executable, "-m", "millrace", "models", "verify", str(found.reference)),
            *("--registry", way.uri, "--cache", str(cache.folder)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 2, ran.stderr
    (line,) = ran.stderr.splitlines()
    assert line.startswith("millrace: ")
    assert way.uri in line
    assert not list((cache.folder / "packages").glob("*/*/*"))
    assert not list((cache.folder / "staging").iterdir())


def _fetch(uri: str, reference: str, folder: str, results: multiprocessing.Queue[str]) -> None:
    results.put(str(locate(reference, Path("none"), uri, Path(folder))))


def test_two_processes_that_fetch_at_once_do_it_once(put, heavy, cache, way):
    """One has the lock, the other finds the files."""
    reference = str(put(heavy).reference)
    together = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[str] = together.Queue()
    arguments = (way.uri, reference, str(cache.folder), results)
    processes = [together.Process(target=_fetch, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    paths = {results.get(timeout=120) for _ in processes}
    for process in processes:
        process.join()

    assert len(paths) == 1
    assert load_package(Path(paths.pop())).manifest.files == heavy.manifest.files
    assert BALLAST_BYTES < way.passed < 2 * BALLAST_BYTES


def test_a_partial_file_of_other_content_is_fetched_anew(put, heavy, registry, cache):
    """Somebody else's disk error is not gone on with."""
    (cache.folder / "partial").mkdir(parents=True)
    graph = heavy.manifest.files["fp32.onnx"]
    (cache.folder / "partial" / graph).write_bytes(b"x" * 1000)

    package = fetch_package(put(heavy), registry, cache)

    assert sha256_of(package.path / "fp32.onnx") == graph


def test_a_partial_file_that_is_whole_needs_no_registry(heavy, cache, tmp_path):
    """Whoever fetched it was killed before it was put in its place."""
    graph = heavy.manifest.files["fp32.onnx"]
    (cache.folder / "partial").mkdir(parents=True)
    content = (heavy.path / "fp32.onnx").read_bytes()
    (cache.folder / "partial" / graph).write_bytes(content)

    file = cache.file(graph, FolderArtifacts(tmp_path / "nowhere"), "fp32.onnx")

    assert file.read_bytes() == content


def test_a_damaged_file_in_the_cache_is_fetched_anew(put, registry, cache, name):
    """Its hash is looked at every time."""
    found = put()
    package = fetch_package(found, registry, cache)
    (package.path / "labels.txt").write_text("spoilt\n", encoding="utf-8")

    again = fetch_package(found, registry, cache)

    assert again.labels == ("red", "green", "blue")


def artifact(registry_server, found, file: str) -> Path:
    """A file of a registered package as it lies on the server."""
    run = found.source.split("/")[-3]
    (path,) = registry_server.artifacts.glob(f"*/{run}/artifacts/model/{PACKAGE_FOLDER}/{file}")
    return path


def test_an_artifact_that_was_changed_is_refused(put, registry, registry_server, cache):
    """And leaves nothing that could be served."""
    found = put()
    artifact(registry_server, found, "labels.txt").write_text("cat\ndog\ncow\n", encoding="utf-8")

    with pytest.raises(RegistryError, match=r"labels\.txt: its sha256 in the registry differs"):
        fetch_package(found, registry, cache)
    assert not (cache.folder / "packages").exists()


def test_a_manifest_that_was_changed_is_refused(put, registry, registry_server, cache):
    """The version's tag has its hash."""
    found = put()
    manifest = artifact(registry_server, found, "model.yaml")
    manifest.write_text(manifest.read_text().replace("top_k: 3", "top_k: 2"), encoding="utf-8")

    with pytest.raises(RegistryError, match=r"model\.yaml: its sha256 in the registry differs"):
        fetch_package(found, registry, cache)


def test_an_artifact_that_was_deleted_is_named(put, registry, registry_server, cache):
    """404 is no reason to try again."""
    found = put()
    artifact(registry_server, found, "fp32.onnx").unlink()

    with pytest.raises(NotRegisteredError, match=r"fp32\.onnx: was moved or deleted"):
        fetch_package(found, registry, cache)


def test_a_full_disk_is_told_and_gives_its_space_back(put, heavy, registry, cache):
    """What is left of the disk is somebody's who needs it. Here no file may be larger than 1 MB."""
    found = put(heavy)
    verify = ["models", "verify", str(found.reference), "--registry", registry.uri]
    command = [sys.executable, "-m", "millrace", *verify, "--cache", str(cache.folder)]

    ran = subprocess.run(
        ["bash", "-c", 'ulimit -f 1000 && exec "$@"', "bash", *command],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.stderr == f"millrace: {cache.folder}: cannot be written: File too large\n"
    assert ran.returncode == 2
    assert partial_bytes(cache) == 0
    assert not (cache.folder / "packages").exists()


def test_a_folder_that_is_no_cache_is_refused(put, registry, tmp_path):
    """A file where the cache should be."""
    (tmp_path / "file").touch()

    with pytest.raises(RegistryError, match="file: cannot be written"):
        fetch_package(put(), registry, Cache(tmp_path / "file"))


def test_readers_at_once_of_one_folder_replace_each_other(cache):
    """Publishing where a folder is already takes that one's place."""
    final = cache.folder / "packages" / "x"

    def publish() -> None:
        for _ in range(20):
            with cache.staging() as staged:
                (staged / "file").touch()
                cache.publish(staged, final)

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [file.name for file in final.iterdir()] == ["file"]
    assert not list((cache.folder / "staging").iterdir())


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("models:/{name}@nobody", "no models:/{name}@nobody: .* has {name} 1 @champion"),
        ("models:/{name}/7", "no models:/{name}/7: .* has {name} 1 @champion"),
        ("models:/nobody-has-this/1", "no models:/nobody-has-this/1: the registry .* has "),
        ("models:/{name}", "must be models:/NAME@ALIAS, models:/NAME/VERSION"),
        ("models:/{name}/latest", "must be models:/NAME@ALIAS, models:/NAME/VERSION"),
        ("models:/../../etc/1", "must be models:/NAME@ALIAS, models:/NAME/VERSION"),
        ("runs:/abc/model", "is a run's artifact"),
    ],
)
def test_an_unknown_reference_is_told_what_there_is(reference, told, put, registry, name, tmp_path):
    """One line."""
    put(alias="champion")

    with pytest.raises(RegistryError, match=told.format(name=name)) as refused:
        locate(reference.format(name=name), tmp_path, registry.uri, tmp_path / "cache")
    assert "\n" not in str(refused.value)


def test_references_are_taken_apart():
    """And put together again."""
    assert parse("models:/digits@champion") == ModelReference("digits", alias="champion")
    assert parse("models:/digits/3") == ModelReference("digits", version="3")
    assert parse("runs:/0a1b/a/model/") == RunReference("0a1b", "a/model")
    for uri in ("models:/digits@champion", "models:/digits/3", "runs:/0a1b/a/model"):
        assert str(parse(uri)) == uri


def test_a_registry_that_nobody_answers_for_is_told_at_once(tmp_path):
    """Not after MLflow's own minutes; without the password that stands in its URI."""
    with pytest.raises(RegistryDownError, match=r"registry http://127\.0\.0\.1:1: ") as refused:
        locate("models:/x@champion", tmp_path, "http://me:secret@127.0.0.1:1", tmp_path)
    assert "secret" not in str(refused.value)


def plain_model(registry: Registry, name: str, folder: Path) -> str:
    """An MLflow model of the onnx flavour's shape that is no package; its run."""
    (folder / "model").mkdir()
    (folder / "model" / "MLmodel").write_text("flavors:\n  onnx: {data: model.onnx}\n")
    (folder / "model" / "model.onnx").write_bytes(b"a network")
    client = registry.client
    run = client.create_run(client.get_experiment_by_name("millrace").experiment_id).info
    client.log_artifacts(run.run_id, str(folder / "model"), "model")
    client.create_registered_model(name)
    client.create_model_version(name, f"{run.artifact_uri}/model", run.run_id)
    return str(run.run_id)


def test_a_model_that_is_no_package_is_fetched_as_a_folder(put, registry, name, tmp_path, colours):
    """By version, by alias and by run; it cannot be served as it is."""
    register(registry, colours, f"{name}-other")  # so that there is an experiment
    run = plain_model(registry, name, tmp_path)
    registry.client.set_registered_model_alias(name, "new", "1")

    for uri in (f"models:/{name}/1", f"models:/{name}@new", f"runs:/{run}/model"):
        folder = fetch_model_folder(uri, registry.uri, tmp_path / "cache").path
        assert (folder / "model.onnx").read_bytes() == b"a network"
        assert (folder / "MLmodel").is_file()
    with pytest.raises(NotRegisteredError, match="holds no Millrace package"):
        locate(f"models:/{name}/1", tmp_path, registry.uri, tmp_path / "cache")
    with pytest.raises(RegistryError, match=r"is no MLflow model|registry"):
        fetch_model_folder(f"runs:/{run}/nothing", registry.uri, tmp_path / "cache")


LOGGING = """
import sys, warnings
warnings.simplefilter("ignore")
import mlflow, onnx
mlflow.set_tracking_uri(sys.argv[1])
with mlflow.start_run() as run:
    network = onnx.load(sys.argv[2])
    mlflow.onnx.log_model(network, name="net", registered_model_name=sys.argv[3],
                          pip_requirements=["onnx"])
print("run", run.info.run_id)
"""


def test_a_model_that_mlflow_itself_logged_is_fetched_as_a_folder(
    registry, name, tmp_path, monkeypatch
):
    """MLflow 3 keeps it apart from its run's artifacts; it is found all the same."""
    onnx.save_model(colour_network(), str(tmp_path / "net.onnx"))
    arguments = [registry.uri, str(tmp_path / "net.onnx"), name]
    ran = subprocess.run(
        [sys.executable, "-c", LOGGING, *arguments], capture_output=True, text=True, check=True
    )
    run = ran.stdout.split()[-1]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    for uri in (f"models:/{name}/1", f"runs:/{run}/net"):
        folder = fetch_model_folder(uri, registry.uri, tmp_path / "cache").path
        assert onnx.load(str(folder / "model.onnx")).graph.name == "colour"
        assert "onnx" in (folder / "MLmodel").read_text()
    # MLflow's own default, a database in the working folder, was not asked by anybody.
    assert list((tmp_path / "here").iterdir()) == []


def test_http_artifacts_go_on_from_any_byte(put, registry, registry_server):
    """Also beyond the end, where there is nothing to go on with."""
    found = put()
    whole = artifact(registry_server, found, "labels.txt").read_bytes()
    artifacts = open_artifacts(registry.source(found), registry.uri)

    for offset in (0, 4, len(whole), len(whole) + 5):
        with artifacts.read(f"{PACKAGE_FOLDER}/labels.txt", offset) as stream:
            rest = b"".join(stream.blocks)
        assert rest == whole[stream.begins_at :]
        assert stream.begins_at == (offset if offset < len(whole) else 0)


def test_a_cache_that_has_everything_is_not_written_to(put, registry, cache):
    """As where it is another user's, read-only or full. Here nothing can be made in it."""
    found = put()
    package = fetch_package(found, registry, cache)
    for folder in ("staging", "partial"):
        shutil.rmtree(cache.folder / folder)
        (cache.folder / folder).touch()

    assert fetch_package(found, registry, cache) == package


def test_a_manifest_in_the_cache_that_was_changed_is_not_served(put, registry, cache):
    """Whoever can write there does not decide what is served: the registry has the hash."""
    found = put()
    package = fetch_package(found, registry, cache)
    manifest = package.path / "model.yaml"
    manifest.write_text(manifest.read_text().replace("top_k: 3", "top_k: 2"), encoding="utf-8")
    assert load_package(package.path).manifest.top_k == 2

    assert fetch_package(found, registry, cache).manifest == package.manifest
    assert load_package(package.path).manifest == package.manifest


def test_a_manifest_that_lists_itself_is_refused(put, colours, registry, registry_server, cache):
    """Else another file would take the place of the one with the registered name."""
    found = put()
    manifest = artifact(registry_server, found, "model.yaml")
    with manifest.open("a", encoding="utf-8") as file:
        file.write(f"  ./model.yaml: {colours.manifest.files['labels.txt']}\n")
    registry.client.set_model_version_tag(
        found.name, found.version, SHA256_TAG, sha256_of(manifest)
    )

    with pytest.raises(RegistryError, match=r"model\.yaml"):
        fetch_package(registry.find(found.reference), registry, cache)
    assert not (cache.folder / "packages").exists()


def test_what_there_is_is_told_in_part_where_it_is_much(put, registry, name, monkeypatch):
    """The newest versions, by one page."""
    for _ in range(3):
        put()
    monkeypatch.setattr(versions_module, "MOST_TOLD", 2)

    with pytest.raises(NotRegisteredError, match=f"has {name} …, 2, 3$"):
        registry.find(ModelReference(name, "9"))
    with pytest.raises(NotRegisteredError, match=r"the registry .* has [^,]+(, [^,]+, …)?$"):
        registry.find(ModelReference("nobody-has-this", "9"))
