"""``millrace manifests`` writes overlays that an API server takes, of the size that figures say."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import json
import shutil
import subprocess
import sys

import httpx
import pytest
from click.testing import CliRunner

from millrace.cli import commands
from millrace.manifests import COMPONENTS
from millrace.sizing import GIB, Measured, PodKind, read_measured, size
from model_store.package import write_manifest
from rollout.kserve.pair import candidate_name
from tests.conftest import colour_image
from tests.end_to_end.conftest import Pod
from tests.end_to_end.watching import until
from tests.manifests.kustomize import SERVICE, build, deployments, kinds, only, selects
from tests.manifests.schemas import problems
from tests.manifests.test_pods import read

DIGEST = "0123456789abcdef" * 4
TALK = ("--instance-rate", "1200", "--core-rate", "220")


@pytest.fixture
def write(colours, tmp_path):
    """Run the command for the colours package; the objects of what it wrote, and what it said."""

    def run(*flags):
        out = tmp_path / "overlay"
        arguments = ["manifests", str(colours.path), *flags, "--out", str(out)]
        ran = CliRunner().invoke(commands, arguments)
        assert ran.exit_code == 0, ran.output
        return build(out), ran.output

    return run


def refusal(*arguments):
    """The exit code and the last line of a run in a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-m", "millrace", "manifests", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.returncode, ran.stderr.strip().splitlines()[-1]


def test_the_talks_fleet_is_written_as_it_was(write):
    """24 pods of one GPU and 8 cores for 28,000 requests a second."""
    objects, said = write("--pods", "24", "--target-rps", "28000", *TALK)
    (deployment,) = deployments(objects)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]

    assert [problem for each in (*objects, deployment) for problem in problems(each)] == []
    assert deployment["spec"]["replicas"] == 24
    assert deployment["metadata"]["name"] == "colours-predictor"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["resources"]["limits"]["cpu"] == "8"
    assert "--model_name=colours" in container["args"]
    assert "24 pods of 1,200 images/s each (infer is the limit) are 28,800/s" in said
    assert "97%" in said


@pytest.mark.parametrize(
    ("flags", "image"),
    [
        ((), "millrace:0.1.0-cuda"),
        (("--device", "amd"), "millrace:0.1.0-rocm"),
        (("--device", "cpu"), "millrace:0.1.0"),
        (("--image", "example.com/m"), "example.com/m:0.1.0-cuda"),
        (("--image", "example.com/m:7"), "example.com/m:7"),
    ],
)
def test_a_pod_gets_the_image_that_has_its_devices_runtime(write, flags, image):
    """Unless another tag is asked for."""
    objects, _ = write("--target-rps", "1000", *TALK, *flags)
    (container,) = only(objects, "ServingRuntime")["spec"]["containers"]

    assert container["image"] == image


def test_two_models_of_a_namespace_leave_each_other_alone(colours, tmp_path):
    """What both overlays have is the same in both: applying one changes nothing of the other."""
    manifest = colours.manifest.model_copy(update={"name": "shades"})
    shutil.copytree(colours.path, tmp_path / "package")
    write_manifest(tmp_path / "package", manifest)
    flags = (
        (colours.path, "--autoscaling", "keda"),
        (tmp_path / "package", "--device", "cpu", "--autoscaling", "knative"),
    )
    overlays = []
    for place, (path, *own) in enumerate(flags):
        out = tmp_path / f"overlay{place}"
        for name in COMPONENTS:
            own += ["--component", name]
        arguments = ["manifests", path, "--target-rps", 1000, *TALK, *own, "--out", out]
        ran = CliRunner().invoke(commands, [str(each) for each in arguments])
        assert ran.exit_code == 0, ran.output
        overlays.append({(each["kind"], each["metadata"]["name"]): each for each in build(out)})
    first, second = overlays

    both = first.keys() & second.keys()
    assert ("ServiceAccount", "millrace-predictor") in both
    assert [key for key in both if first[key] != second[key]] == []
    for name, objects in (("colours", first), ("shades", second)):
        runtime = objects["InferenceService", name]["spec"]["predictor"]["model"]["runtime"]
        labels = deployments(objects.values())[0]["metadata"]["labels"]
        budget = objects["PodDisruptionBudget", f"millrace-{name}"]["spec"]["selector"]
        policy = objects["NetworkPolicy", f"millrace-{name}"]["spec"]["podSelector"]
        assert ("ServingRuntime", runtime) in objects
        other = {"colours": "shades", "shades": "colours"}[name]
        for selector in (budget, policy):
            for service in (name, candidate_name(name)):
                assert selects(selector, labels | {SERVICE: service})
            assert not selects(selector, labels | {SERVICE: other})


def test_pods_serve_the_package_that_was_planned_with_and_no_other(colours, write):
    """By the digest of its manifest, beside what components set."""
    objects, _ = write("--target-rps", "1000", *TALK, "--component", "repository-token")
    model = only(objects, "InferenceService")["spec"]["predictor"]["model"]
    variables = {each["name"]: each.get("value") for each in model["env"]}

    digest = hashlib.sha256((colours.path / "model.yaml").read_bytes()).hexdigest()
    assert variables == {"MILLRACE_PACKAGE_SHA256": digest, "MILLRACE_REPOSITORY_TOKEN": None}
    assert read({"MILLRACE_PACKAGE_SHA256": digest}).package_sha256 == digest


def test_too_few_pods_are_refused_with_how_many_it_takes(colours, tmp_path):
    """Exit code 1, and nothing is written."""
    out = tmp_path / "overlay"
    flags = ("--pods", 20, "--target-rps", 28000, *TALK, "--out", out)

    assert refusal(colours.path, *flags) == (
        1,
        "millrace: too few: 34 pods carry it at 69%",
    )
    assert not out.exists()


def test_without_figures_it_asks_for_them_in_one_line(colours):
    """Nothing is guessed."""
    code, line = refusal(colours.path, "--target-rps", 100)

    assert code == 2
    assert line.startswith("Error: say what was measured: --measured FILE")


def test_without_pods_there_are_as_many_as_carry_the_target_at_seven_tenths():
    """1,000 requests/s of pods that can do 1,200 at most; cores that are too few are the limit."""
    kind = PodKind(cores=8, instances=1, input_bytes=150_528, model_bytes=14_000_000)

    by_device = size(Measured(1200, 220), kind, 10_000)
    by_cores = size(Measured(1200, 100), kind, 10_000)

    assert (by_device.pods, by_device.limit, by_device.pod_rate) == (12, "infer", 1200)
    assert (by_cores.pods, by_cores.limit, by_cores.pod_rate) == (18, "cores", 800)
    assert by_device.load == pytest.approx(10_000 / 14_400)


def test_on_cpus_decoding_and_inference_share_the_cores():
    """2 cores, 5 ms of each image for one and 5 ms for the other: 200 images a second."""
    kind = PodKind(cores=2, instances=0, input_bytes=150_528, model_bytes=14_000_000)

    sizing = size(Measured(200, 200), kind, 100)

    assert sizing.pod_rate == pytest.approx(200)
    assert sizing.limit == "cores"
    assert sizing.pods == 1


def test_memory_holds_what_settings_allow_a_pod_to_take():
    """Each frontend's bodies and slots, each instance's weights."""
    small = PodKind(cores=8, instances=1, input_bytes=3072, model_bytes=10**6)
    large = PodKind(cores=8, instances=1, input_bytes=10**6, model_bytes=2 * GIB)

    assert size(Measured(1200, 220), small, 100).memory_gib == 5
    assert size(Measured(1200, 220), large, 100).memory_gib >= 5 + 6


def test_there_are_frontends_for_event_loops_and_for_decoders():
    """One for each 2,000 requests a second, and one for every four cores."""
    gpu = PodKind(cores=8, instances=1, input_bytes=3072, model_bytes=10**6)
    cpu = PodKind(cores=2, instances=0, input_bytes=3072, model_bytes=10**6)

    assert size(Measured(9000, 9000), gpu, 100).frontends == 5
    assert size(Measured(1200, 220), gpu, 100).frontends == 2
    assert size(Measured(100, 220), cpu, 100).frontends == 1


def test_concurrency_is_what_pods_have_in_flight_at_that_load():
    """By Little's law it is at least rate times the time of a batch that is not full."""
    kind = PodKind(cores=8, instances=1, input_bytes=3072, model_bytes=10**6)

    fast, slow = (size(Measured(rate, 220), kind, 100).concurrency for rate in (1200, 150))

    assert 40 <= fast <= 70  # docs/study.md's simulated pod of the talk
    assert slow < fast


def test_knative_is_given_the_concurrency_and_the_most(write):
    """And the namespace and the image by digest."""
    flags = ("--autoscaling", "knative", "--image", f"registry.example.com:5000/m@sha256:{DIGEST}")
    objects, _ = write("--pods", "6", "--target-rps", "5000", *TALK, *flags)
    predictor = only(objects, "InferenceService")["spec"]["predictor"]
    (container,) = only(objects, "ServingRuntime")["spec"]["containers"]

    assert [problem for each in objects for problem in problems(each)] == []
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (2, 6)
    assert 40 <= predictor["scaleTarget"] <= 70
    assert container["image"] == f"registry.example.com:5000/m@sha256:{DIGEST}"


def test_pods_of_knative_are_scraped_past_its_proxy(write):
    """At the container's own port, where scrapes are no requests; and at no Service besides."""
    flags = ("--autoscaling", "knative", "--component", "monitoring")
    objects, _ = write("--target-rps", "5000", *TALK, *flags)
    monitor = only(objects, "PodMonitor")["spec"]
    (port,) = only(objects, "ServingRuntime")["spec"]["containers"][0]["ports"]

    assert [problem for each in objects for problem in problems(each)] == []
    assert [each["portNumber"] for each in monitor["podMetricsEndpoints"]] == [
        port["containerPort"]
    ]
    assert "ServiceMonitor" not in kinds(objects)


def test_keda_scales_the_deployment_and_asks_for_the_models_own_metrics(write):
    """The base's model is named nowhere any more."""
    flags = ("--autoscaling", "keda", "--namespace", "shop", "--component", "monitoring")
    objects, _ = write("--pods", "12", "--target-rps", "9000", *TALK, *flags)
    scaled = only(objects, "ScaledObject")

    assert [problem for each in objects for problem in problems(each)] == []
    assert scaled["spec"]["scaleTargetRef"]["name"] == "colours-predictor"
    assert (scaled["spec"]["minReplicaCount"], scaled["spec"]["maxReplicaCount"]) == (2, 12)
    queries = [trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"]]
    assert all('namespace="shop",model="colours"' in query for query in queries)
    assert "classifier" not in json.dumps(objects)
    (rule,) = only(objects, "PrometheusRule", "millrace-absent-colours")["spec"]["groups"][0][
        "rules"
    ]
    assert rule["expr"] == 'absent(millrace_instance_up{namespace="shop",model="colours"})'
    assert 'namespace="millrace"' not in json.dumps(objects)


def test_a_model_that_follows_a_registry_has_no_storage_uri(write):
    """Its alias says which package is served, and no digest here."""
    objects, _ = write("--target-rps", "1000", *TALK, "--component", "registry")
    service = only(objects, "InferenceService")
    (container,) = only(objects, "ServingRuntime")["spec"]["containers"]

    assert [problem for each in objects for problem in problems(each)] == []
    assert "storageUri" not in service["spec"]["predictor"]["model"]
    assert service["spec"]["predictor"]["model"]["env"] == []
    assert "--model_dir=models:/{{.Name}}@champion" in container["args"]


def test_two_gpus_a_pod_are_two_devices(write):
    """Of AMD's, with the variables that its runtimes read."""
    flags = ("--device", "amd", "--gpus", "2", "--cores", "16")
    objects, _ = write("--target-rps", "5000", *TALK, *flags)
    settings = only(objects, "ConfigMap")["data"]
    limits = only(objects, "InferenceService")["spec"]["predictor"]["model"]["resources"]["limits"]

    assert limits["amd.com/gpu"] == "2"
    assert settings["MILLRACE_DEVICES"] == "rocm:0,rocm:1"
    assert settings["ROCR_VISIBLE_DEVICES"] == settings["HIP_VISIBLE_DEVICES"] == "0,1"
    assert read(settings).device_list == ("rocm:0", "rocm:1")


def test_a_real_pod_says_what_pods_are_sized_by(colours, tmp_path):
    """Its stages, saved under load, are all that the command needs."""
    image = colour_image("red")
    file = tmp_path / "stages.json"

    def load(pod):
        with httpx.Client() as client:
            for _ in range(60):
                client.put(f"{pod.url}/v1/models/colours:predict", content=image)

    def has_measured():  # once a second, what has been counted by then
        file.write_bytes(httpx.get(f"{pod.url}/v2/models/colours/stages").content)
        return json.loads(file.read_bytes())["cores"]["busy_ms"] is not None

    with contextlib.closing(Pod(colours.path, "--drain-delay-s", "0")) as pod:
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            list(threads.map(load, [pod] * 4))
        until(has_measured)
    measured = read_measured(file)
    flags = ("--device", "cpu", "--cores", "2", "--measured", file, "--out", tmp_path / "o")
    ran = CliRunner().invoke(
        commands, ["manifests", str(colours.path), "--target-rps", "50", *map(str, flags)]
    )

    cores_ms = json.loads(file.read_text("utf-8"))["cores"]["busy_ms"]
    assert 1 / measured.core_rate + 1 / measured.instance_rate == pytest.approx(cores_ms / 1e3)
    assert ran.exit_code == 0, ran.output
    assert "(cores is the limit)" in ran.output


def test_a_file_that_is_no_report_is_refused_in_one_line(colours, tmp_path):
    """Whatever it is."""
    file = tmp_path / "stages.json"
    file.write_text('{"stages": []}', encoding="utf-8")

    code, line = refusal(colours.path, "--target-rps", 100, "--measured", file)

    assert code == 2
    assert "no answer of /v2/models/NAME/stages" in line


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--manifests", "nowhere"), "nowhere: no base here: say --manifests FOLDER"),
        (("--storage-uri", "pvc://x", "--gpus", "0"), "Invalid value for '--gpus'"),
        (("--component", "canary"), "Invalid value for '--component'"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line(colours, flags, said):
    """Exit code 2."""
    code, line = refusal(colours.path, "--target-rps", 100, *TALK, *flags)

    assert code == 2
    assert said in line


def test_a_name_that_kserve_refuses_is_refused_here(colours, tmp_path):
    """Packages may have dots and underscores in theirs."""
    manifest = colours.manifest.model_copy(update={"name": "my_model.2"})
    shutil.copytree(colours.path, tmp_path / "package")
    write_manifest(tmp_path / "package", manifest)

    code, line = refusal(tmp_path / "package", "--target-rps", 100, *TALK)

    assert code == 2
    assert line.startswith("Error: my_model.2: no name of an InferenceService")
