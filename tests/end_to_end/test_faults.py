"""What is killed, stopped or refused costs nobody an answer that was promised."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from model_store.package import write_manifest
from tests.conftest import colour_image
from tests.end_to_end.load import Load

IMAGE = colour_image("red")
COUNTED = {"not_ready", "queue_full", "deadline"}  # why a pod may refuse what comes
SOON = ("--hang-timeout-s", "1.5", "--drain-delay-s", "0")


def predict_url(pod) -> str:
    """The v1 route of the colours model."""
    return f"{pod.url}/v1/models/colours:predict"


def test_killing_one_of_two_instances_loses_no_request(start, colours):
    """Kill -9 under load: every request is answered 200, and the instance comes back."""
    pod = start(colours, "--instances", "2", "--drain-delay-s", "0")
    load = Load(predict_url(pod), IMAGE, clients=16)
    load.wait_for(100)

    victim = pod.instances()[0]
    victim.kill()
    load.wait_for(300)
    outcomes = load.stop()

    assert {200} == set(outcomes)
    wait_for_instances(pod, 2, without=victim)


def test_killing_the_only_instance_answers_every_accepted_request(start, colours):
    """By the successor; what comes while there is none, if anything does, is refused with 503."""
    pod = start(colours, "--drain-delay-s", "0")
    load = Load(predict_url(pod), IMAGE, clients=16)
    load.wait_for(100)

    pod.instances()[0].kill()
    load.wait_for(300)
    outcomes = load.stop()

    assert_answered_or_refused(pod, outcomes)
    text = httpx.get(f"{pod.url}/metrics").text
    assert 'millrace_instance_restarts_total{instance="0",model="colours"} 1.0' in text


def test_a_killed_frontend_is_replaced_and_the_other_one_serves_on(start, colours):
    """Its connections die with it, new ones are answered; another process serves in its place."""
    pod = start(colours, "--frontends", "2", "--hang-timeout-s", "100", "--drain-delay-s", "0")
    first, second = pod.frontends()

    first.kill()
    first.wait()
    answers = {put(pod) for _ in range(20)}
    (successor,) = wait_for_others(pod.frontends, {first.pid, second.pid}, 1)
    second.suspend()  # so that whoever answers now is the successor
    try:
        answers |= {put(pod) for _ in range(20)}
    finally:
        second.resume()

    assert answers == {200}
    assert successor.is_running()
    assert {process.pid for process in pod.frontends()} == {second.pid, successor.pid}


def test_a_frontend_that_replaces_another_refuses_nothing(start, colours):
    """What waits to be accepted meanwhile is taken once it knows who computes."""
    pod = start(colours, "--drain-delay-s", "0")
    for _ in range(3):
        (frontend,) = pod.frontends()
        frontend.kill()
        frontend.wait()

        assert [put(pod) for _ in range(3)] == [200, 200, 200]


def test_an_instance_that_stands_still_is_replaced_and_loses_no_request(start, colours):
    """SIGSTOP under load: the other one takes what comes, its images go elsewhere when it goes."""
    pod = start(colours, "--instances", "2", *SOON)
    load = Load(predict_url(pod), IMAGE, clients=16)
    load.wait_for(100)

    victim = pod.instances()[0]
    victim.suspend()
    victim.wait()
    load.wait_for(200)
    outcomes = load.stop()

    assert {200} == set(outcomes)
    wait_for_instances(pod, 2, without=victim)
    assert any("no sign of life" in line for line in pod.log)


def test_a_pod_whose_only_instance_stands_still_answers_all_it_accepted(start, colours):
    """By the successor."""
    pod = start(colours, *SOON)
    load = Load(predict_url(pod), IMAGE, clients=8)
    load.wait_for(50)

    pod.instances()[0].suspend()
    load.wait_for(200)
    outcomes = load.stop()

    assert_answered_or_refused(pod, outcomes)
    text = httpx.get(f"{pod.url}/metrics").text
    assert 'millrace_instance_restarts_total{instance="0",model="colours"} 1.0' in text


def test_a_frontend_that_stands_still_is_replaced(start, colours):
    """Its connections end, the other one serves on, and the metrics count it."""
    pod = start(colours, "--frontends", "2", *SOON)
    victim = pod.frontends()[0]

    victim.suspend()
    victim.wait()
    while len(pod.frontends()) < 2:
        pass

    counted = 'millrace_frontend_restarts_total{frontend="0"} 1.0'
    while counted not in httpx.get(f"{pod.url}/metrics", timeout=30).text:
        pass
    assert httpx.put(predict_url(pod), content=IMAGE).status_code == 200


def test_sigterm_under_load_loses_no_accepted_request(start, colours):
    """Every request gets its answer until the port is closed; then connections are refused."""
    pod = start(colours, "--frontends", "2", "--instances", "2", "--drain-delay-s", "1")
    load = Load(predict_url(pod), IMAGE, clients=16)
    load.wait_for(100)

    code = pod.stop()
    outcomes = load.stop()

    assert code == 0
    assert {200, "refused"} == set(outcomes)


def test_readiness_is_withdrawn_while_requests_are_still_served(start, colours):
    """During the drain delay /ready says 503 and predict says 200, on connections that close."""
    pod = start(colours, "--drain-delay-s", "5")
    pod.process.terminate()
    with httpx.Client(base_url=pod.url) as client:
        while client.get("/v2/health/ready").status_code == 200:
            pass
        answer = client.put("/v1/models/colours:predict", content=IMAGE)

    assert answer.status_code == 200
    assert answer.headers["connection"] == "close"


def test_children_go_when_the_supervisor_is_killed(start, colours):
    """Kill -9 of the supervisor leaves no process behind."""
    pod = start(colours, "--instances", "2")

    pod.process.kill()
    pod.process.wait()
    _, alive = psutil.wait_procs(pod.family, timeout=20)

    assert alive == []


def put(pod) -> int:
    """The status of one image on a connection of its own."""
    return httpx.put(predict_url(pod), content=IMAGE, timeout=60).status_code


def assert_answered_or_refused(pod, outcomes: Counter[int | str]) -> None:
    """Nothing was lost or failed, and every refusal is one that the pod counts as allowed."""
    assert {200} <= set(outcomes) <= {200, 503}
    refused = refusals(pod)
    assert set(refused) <= COUNTED
    assert refused.total() == outcomes[503]


def refusals(pod) -> Counter[str]:
    """Requests the pod has refused, by the reason it counts them by."""
    totals: Counter[str] = Counter()
    for family in text_string_to_metric_families(httpx.get(f"{pod.url}/metrics").text):
        for sample in family.samples:
            if sample.name == "millrace_rejected_total" and sample.value:
                totals[sample.labels["reason"]] += round(sample.value)
    return totals


def wait_for_others(
    processes: Callable[[], list[psutil.Process]], known: set[int], count: int
) -> list[psutil.Process]:
    """Until there are so many of these processes that are not known."""
    while True:
        others = [process for process in processes() if process.pid not in known]
        if len(others) == count:
            return others


def serve_and_fail(*arguments: object) -> str:
    """Run ``millrace serve`` that cannot start; its one line."""
    command = [sys.executable, "-m", "millrace", "serve", *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr
    return ran.stderr


def test_a_taken_port_is_said_in_one_line(colours):
    """With the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = serve_and_fail(colours.path, "--host", "127.0.0.1", "--http-port", port)

    assert f"millrace: cannot listen on 127.0.0.1:{port}: Address already in use" in said


def test_a_package_that_changed_is_not_served(colours, tmp_path):
    """The file is named."""
    copy = tmp_path / "changed"
    subprocess.run(["cp", "-r", colours.path, copy], check=True)
    with (copy / "fp32.onnx").open("ab") as graph:
        graph.write(b"x")

    said = serve_and_fail(copy)

    assert f"millrace: {copy / 'fp32.onnx'}: changed since packaging" in said


def test_a_package_whose_golden_answers_differ_never_gets_ready(colours, tmp_path):
    """The pod says which image failed and stops."""
    copy = tmp_path / "wrong"
    subprocess.run(["cp", "-r", colours.path, copy], check=True)
    manifest = colours.manifest
    first, *others = manifest.golden
    wrong = first.model_copy(update={"indices": first.indices[::-1]})
    write_manifest(copy, manifest.model_copy(update={"golden": (wrong, *others)}))

    said = serve_and_fail(copy, "--http-port", "0", "--grpc-port", "0")

    assert "golden check failed" in said


def wait_for_instances(pod, count: int, without: psutil.Process) -> None:
    """Until so many instances are up again, by the metric that says so."""
    while True:
        text = httpx.get(f"{pod.url}/metrics").text
        up = [line for line in text.splitlines() if line.startswith("millrace_instance_up{")]
        if sum(float(line.split()[-1]) for line in up) == count:
            break
    assert without.pid not in [process.pid for process in pod.instances()]
