"""Images at which ONNX Runtime really fails cost themselves, and nobody beside them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.failing_network import NO_MEMORY, NO_MEMORY_FOR_TWO, RAISES, one_colour
from tests.conftest import COLOUR_SIZE, COLOURS, colour_image
from tests.end_to_end.conftest import Pod
from tests.end_to_end.load import Load

MODEL = "/v2/models/failing"
RAW = {"Inference-Header-Content-Length": "0"}
WAIT_S = 60
GOOD = {colour: colour_image(colour) for colour in COLOURS}
BAD = one_colour(RAISES, COLOUR_SIZE)
FILLING = one_colour(NO_MEMORY, COLOUR_SIZE)
HALVING = one_colour(NO_MEMORY_FOR_TWO, COLOUR_SIZE)
# So that images which are sent together are batched together: a batch is held open for longer than
# sending them takes.
TOGETHER = ("--max-batch-size", "8", "--max-queue-delay-us", "300000")
# A batch of one is held as well.
TOGETHER = (*TOGETHER, "--preferred-batch-sizes", "8", "--drain-delay-s", "0")
PODS = pytest.mark.parametrize("instances", [1, 2])


def start_pod(start, failing, instances: int, *settings: str) -> Pod:
    """A pod that gathers what is sent together."""
    return start(failing, "--instances", str(instances), *TOGETHER, *settings)


def ask_together(pod: Pod, images: Sequence[bytes]) -> list[tuple[int, str | None]]:
    """Status and best label of each image, all sent at once by clients of their own."""
    answers: list[tuple[int, str | None]] = [(0, None)] * len(images)
    barrier = threading.Barrier(len(images))

    def ask(place: int) -> None:
        with httpx.Client(base_url=pod.url, timeout=WAIT_S) as client:
            client.get("/v2/health/live")  # connected
            barrier.wait()
            answer = client.put("/v1/models/failing:predict", content=images[place])
            found = answer.json().get("predictions", [{}])
            answers[place] = (answer.status_code, found[0].get("label"))

    clients = [threading.Thread(target=ask, args=(place,)) for place in range(len(images))]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return answers


def ask(pod: Pod, image: bytes) -> int:
    """The status of one image by itself."""
    url = f"{pod.url}{MODEL}/infer"
    return httpx.post(url, content=image, headers=RAW, timeout=WAIT_S).status_code


def failures(pod: Pod) -> Counter[str]:
    """Batches on which the runtime raised, by reason."""
    return counted(pod, "millrace_batch_failures_total", "reason")


def counted(pod: Pod, name: str, label: str) -> Counter[str]:
    """Totals of a metric by one of its labels, without zeros."""
    totals: Counter[str] = Counter()
    for family in text_string_to_metric_families(httpx.get(f"{pod.url}/metrics").text):
        for sample in family.samples:
            if sample.name == name and sample.value:
                totals[sample.labels[label]] += round(sample.value)
    return totals


def serves_all_colours(pod: Pod) -> bool:
    """Every good image gets its own label."""
    return ask_together(pod, list(GOOD.values())) == [(200, colour) for colour in COLOURS]


@PODS
def test_an_image_the_runtime_raises_at_costs_nobody_beside_it(start, failing, instances):
    """It is answered 500, those that were sent with it are answered rightly, nothing restarts."""
    pod = start_pod(start, failing, instances)
    before = {process.pid for process in pod.instances()}

    answers = ask_together(pod, [GOOD["red"], BAD, GOOD["green"], GOOD["blue"]])

    assert answers == [(200, "red"), (500, None), (200, "green"), (200, "blue")]
    assert ask(pod, BAD) == 500
    assert failures(pod)["error"] > 0
    assert set(failures(pod)) == {"error"}
    assert before == {process.pid for process in pod.instances()}


@PODS
def test_a_few_bad_images_in_a_row_end_no_instance(start, failing, instances):
    """One after the other, each alone in its batch: that says nothing of the device."""
    pod = start_pod(start, failing, instances)
    before = {process.pid for process in pod.instances()}

    told = [ask(pod, BAD) for _ in range(6)]

    assert told == [500] * 6
    assert serves_all_colours(pod)
    assert before == {process.pid for process in pod.instances()}
    assert counted(pod, "millrace_instance_restarts_total", "instance") == {}


@PODS
def test_an_image_there_is_no_memory_for_costs_nobody_beside_it(start, failing, instances):
    """Counted as such; the pod answers on, from the same processes."""
    pod = start_pod(start, failing, instances)
    before = {process.pid for process in pod.instances()}

    answers = ask_together(pod, [GOOD["red"], GOOD["green"], FILLING, GOOD["blue"]])

    assert answers == [(200, "red"), (200, "green"), (500, None), (200, "blue")]
    assert set(failures(pod)) == {"out_of_memory"}
    assert [ask(pod, FILLING) for _ in range(6)] == [500] * 6
    assert serves_all_colours(pod)
    assert before == {process.pid for process in pod.instances()}


def test_images_there_is_no_memory_for_together_are_answered_apart(start, failing):
    """A batch of two fails, each by itself runs: both are answered 200."""
    pod = start_pod(start, failing, 1)

    answers = ask_together(pod, [HALVING, HALVING, GOOD["red"], GOOD["blue"]])

    assert [status for status, _ in answers] == [200] * 4
    assert [label for _, label in answers[2:]] == ["red", "blue"]
    assert failures(pod)["out_of_memory"] >= 1


def test_an_image_there_is_no_memory_for_alone_makes_no_batch_smaller(start, failing):
    """It says nothing of how many others fit: those who come after are batched as before."""
    pod = start_pod(start, failing, 1)

    assert ask(pod, FILLING) == 500
    assert ask_together(pod, [GOOD["red"]] * 8) == [(200, "red")] * 8

    stats = httpx.get(f"{pod.url}{MODEL}/stats").json()["model_stats"][0]
    assert max(entry["batch_size"] for entry in stats["batch_stats"]) > 1


@pytest.mark.parametrize(
    ("image", "reason"), [(BAD, "error"), (FILLING, "out_of_memory")], ids=["raises", "no memory"]
)
def test_bad_images_among_many_good_ones_cost_only_themselves(start, failing, image, reason):
    """Under load: every good one is answered 200 while bad ones keep coming."""
    pod = start(failing, "--instances", "2", "--max-batch-size", "8", "--drain-delay-s", "0")
    good = Load(f"{pod.url}/v1/models/failing:predict", GOOD["red"], clients=8)
    bad = Load(f"{pod.url}/v1/models/failing:predict", image, clients=1)
    bad.wait_for(20, outcome=500)
    good.wait_for(50)
    outcomes = bad.stop(), good.stop()

    assert tuple(map(set, outcomes)) == ({500}, {200})
    assert reason in failures(pod)


def test_a_v2_request_with_a_bad_image_is_refused_as_a_whole_and_says_which(start, failing):
    """500 with its place, and nothing of the runtime's own words."""
    pod = start_pod(start, failing, 1)
    tensor = b"".join(len(image).to_bytes(4, "little") + image for image in (GOOD["red"], BAD))
    parameters = {"binary_data_size": len(tensor)}
    head = httpx.Request(
        "POST",
        pod.url,
        json={
            "inputs": [
                {"name": "image", "datatype": "BYTES", "shape": [2], "parameters": parameters}
            ]
        },
    ).content

    answer = httpx.post(
        f"{pod.url}{MODEL}/infer",
        content=head + tensor,
        headers={"Inference-Header-Content-Length": str(len(head))},
        timeout=WAIT_S,
    )

    assert answer.status_code == 500
    assert answer.json()["error"].startswith("image 1: ")
    assert "Gather" not in answer.text
