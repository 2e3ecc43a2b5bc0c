"""The whole way of a model on one machine: train, serve, and three candidates by the pipeline.

A better network is promoted, one that learnt next to nothing is stopped by the gate, and one that
passes the gate but is slow is taken back from its first share of the requests; clients go on asking
all the time. Then the server is asked through every protocol, and stopped.

``python -m examples.demo``, or ``make demo``. Everything it writes is under ``var/demo``; exit code
0 says that every step held.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
import httpx
from rich.console import Console
from rich.table import Table

from examples import candidates, clients, digits, pipeline_runs
from examples.clients import Address, Reading
from examples.live_traffic import LiveTraffic, Traffic
from examples.pipeline_runs import Outcome, Shop
from examples.server import MILLRACE, Server, ServerError, Stop, free_port
from model_store.registry.versions import TAG, Registry

FOLDER = Path("var/demo")
NAME = "digits"
REGISTRY = f"sqlite:///{FOLDER}/mlflow.db"
MIN_ACCURACY = 0.95
READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0
EXPECTED = {"digits.onnx": "promoted", "worse.onnx": "refused", "slow.onnx": "aborted"}

console = Console()


def main() -> int:
    """Tell the story; 0 when every step of it held, 1 when one did not."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    address = Address(NAME, free_port(), free_port())
    shop = Shop(FOLDER, NAME, address.url, REGISTRY)
    try:
        held_out = train()
        first_version(shop)
        images = [scan.file.read_bytes() for scan in held_out]
        outcomes, traffic, readings, stop = serve(shop, address, images)
    except ServerError as error:
        console.print(f"[red]demo failed:[/] {error}", highlight=False)
        return 1
    show(outcomes, Registry(REGISTRY))
    rolled = conclude_rollouts(outcomes, traffic, Registry(REGISTRY).aliases(NAME))
    served = conclude(readings, [scan.label for scan in held_out], stop)
    return max(rolled, served)


def train() -> tuple[digits.Scan, ...]:
    """Train and export the networks; return the digits that they have never seen."""
    scans = digits.render(FOLDER / "digits")
    console.rule(f"train on {len(scans.train):,} scanned digits, hold out {len(scans.test):,}")
    found = candidates.make(
        scans,
        FOLDER,
        lambda name, epoch: console.print(
            f"{name}: pass {epoch.number}, loss {epoch.loss:.3f}", highlight=False
        ),
    )
    for file, accuracy in found.items():
        console.print(f"{file}: accuracy {accuracy:.3f} on the held-out digits", highlight=False)
    labels = "".join(f"{label}\n" for label in digits.LABELS)
    (FOLDER / "labels.txt").write_text(labels, encoding="utf-8")
    return scans.test


def first_version(shop: Shop) -> None:
    """Package and register the first network, as any model that was there before a pipeline."""
    console.rule("the first version")
    shop.prepare()
    shop.token_file.write_text(secrets.token_hex(), encoding="utf-8")
    package: list[str | Path] = [MILLRACE, "package", FOLDER / "first.onnx", "--name", NAME]
    package += ["--config", FOLDER / "package.yaml", "--labels", FOLDER / "labels.txt"]
    package += ["--parity-images", FOLDER / "digits/test/7", "--store", shop.store]
    register: list[str | Path] = [MILLRACE, "models", "register", NAME, "--alias", "champion"]
    register += ["--store", shop.store, "--registry", shop.registry]
    for command in (package, register):
        say(command)
        if subprocess.run(command, check=False).returncode != 0:
            raise ServerError("that was refused; the reason is above")


def serve(
    shop: Shop, address: Address, images: Sequence[bytes]
) -> tuple[list[Outcome], Traffic, list[Reading], Stop]:
    """Start the server, run the pipeline under live traffic, ask about ``images``, and stop."""
    console.rule("serve")
    command: list[str | Path] = [MILLRACE, "serve", NAME, "--store", shop.store]
    command += ["--http-port", str(address.http_port), "--grpc-port", str(address.grpc_port)]
    command += ["--frontends", "1", "--instances", "1"]
    say(command)
    token = {"MILLRACE_REPOSITORY_TOKEN": shop.token_file.read_text(encoding="utf-8")}
    server = Server(command, FOLDER / "server.log", token)
    try:
        server.wait_ready(f"{address.url}/v2/health/ready", READY_TIMEOUT_S)
        outcomes, traffic = roll_out(shop)
        readings = asyncio.run(clients.read_all(address, images))
    except (httpx.HTTPError, grpc.RpcError) as error:
        raise ServerError(f"the server did not answer: {error}\n{server.log_tail()}") from error
    finally:
        stop = server.stop(STOP_TIMEOUT_S)
    return outcomes, traffic, readings, stop


def roll_out(shop: Shop) -> tuple[list[Outcome], Traffic]:
    """The pipeline for each candidate, while clients go on asking."""
    live = LiveTraffic(shop.url, FOLDER / "digits/test", FOLDER / "clients.log")
    try:
        outcomes = []
        for network in EXPECTED:
            console.rule(f"pipeline: {network}")
            command = shop.command(network)
            say(command)
            outcomes.append(pipeline_runs.run(command, network))
    finally:
        traffic = live.stop()
    return outcomes, traffic


def show(outcomes: Sequence[Outcome], registry: Registry) -> None:
    """Print how the runs ended, and where that stands in MLflow."""
    table = Table("candidate", "outcome", "version", "seconds", "why", title="three candidates")
    for each in outcomes:
        version = each.version or "not registered"
        table.add_row(each.network, each.outcome, version, f"{each.seconds:.0f}", each.why)
    console.print(table)
    console.print(f"in MLflow, {registry.uri} (mlflow ui --backend-store-uri {registry.uri}):")
    for each in outcomes:
        console.print(f"  run {each.mlflow_run} of millrace-pipeline: {each.network}")
    for found in registry.versions(NAME):
        aliases = " ".join(f"@{alias}" for alias in found.aliases)
        ended = found.tags.get(f"{TAG}rollout", "was there before")
        line = f"  {found.reference} {aliases}: {TAG}rollout = {ended}"
        console.print(line, highlight=False, markup=False)


def conclude_rollouts(
    outcomes: Sequence[Outcome], traffic: Traffic, aliases: Mapping[str, str]
) -> int:
    """Whether the three candidates ended as they deserve; 0 if so, and no client noticed."""
    found = {each.network: each for each in outcomes}
    checks = {
        f"{network} was {expected}": network in found and found[network].outcome == expected
        for network, expected in EXPECTED.items()
    }
    better = found["digits.onnx"].version if "digits.onnx" in found else ""
    checks[f"@champion is version {better}, @previous the first one, nobody @challenger"] = dict(
        aliases
    ) == {"champion": better, "previous": "1"}
    checks[f"{traffic.failed} of {traffic.requests:,} requests failed meanwhile"] = (
        traffic.requests > 0 and traffic.failed == 0
    )
    return tell(checks)


def conclude(readings: Sequence[Reading], labels: Sequence[str], stop: Stop) -> int:
    """Print what came out; 0 when the answers are good, the same everywhere, and the stop clean."""
    table = Table("protocol", title="held-out digits, classified by the server")
    for column in ("images", "accuracy", "images/s"):
        table.add_column(column, justify="right")
    for reading in readings:
        accuracy = accuracy_of(reading, labels)
        counts = f"{len(reading.answers):,}", f"{accuracy:.3f}", f"{reading.images_per_second:,.0f}"
        table.add_row(reading.protocol, *counts)
    console.print(table)

    agreed = agreement(readings)
    checks = {
        f"all {len(readings)} protocols agree on {agreed:,} of {len(labels):,} images": (
            agreed == len(labels)
        ),
        f"every accuracy is at least {MIN_ACCURACY}": all(
            accuracy_of(reading, labels) >= MIN_ACCURACY for reading in readings
        ),
        f"the server stopped with exit code {stop.exit_code}, "
        f"leaving {len(stop.left_behind)} processes behind": stop.clean,
    }
    failed = tell(checks)
    for title in stop.left_behind:
        console.print(f"    left behind: {title}", highlight=False)
    return failed


def tell(checks: Mapping[str, bool]) -> int:
    """Print what held and what did not; 0 when all of it did."""
    for text, held in checks.items():
        console.print(f"{'[green]yes[/]' if held else '[red]NO [/]'} {text}", highlight=False)
    return 0 if all(checks.values()) else 1


def accuracy_of(reading: Reading, labels: Sequence[str]) -> float:
    """The share of ``labels`` that the server gave, from 0 to 1."""
    right = [answer.label == label for answer, label in zip(reading.answers, labels, strict=True)]
    return sum(right) / len(right)


def agreement(readings: Sequence[Reading]) -> int:
    """On how many images every reading has the same label and class index."""
    return sum(
        len({(answer.label, answer.index) for answer in answers}) == 1
        for answers in zip(*(reading.answers for reading in readings), strict=True)
    )


def say(command: Sequence[str | Path]) -> None:
    """Show a command as one would type it."""
    console.print("$ " + " ".join(map(str, command)), style="bold", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
