"""The whole way of a model on one machine: train, package, serve, ask, stop.

``python -m examples.demo``, or ``make demo``. Everything it writes is under ``var/demo``; exit code
0 says that every step held.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import grpc
import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from examples import clients, digits
from examples.clients import Address, Reading
from examples.server import MILLRACE, Server, ServerError, Stop, free_port

FOLDER = Path("var/demo")
NAME = "digits"
EPOCHS = 24
MIN_ACCURACY = 0.95
READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0

console = Console()


def main() -> int:
    """Tell the story; 0 when every step of it held, 1 when one did not."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    try:
        held_out = train()
        package()
        readings, stop = serve_and_ask([scan.file.read_bytes() for scan in held_out])
    except ServerError as error:
        console.print(f"[red]demo failed:[/] {error}", highlight=False)
        return 1
    return conclude(readings, [scan.label for scan in held_out], stop)


def train() -> tuple[digits.Scan, ...]:
    """Train and export the network; return the digits it has never seen."""
    scans = digits.render(FOLDER / "digits")
    console.rule(f"train on {len(scans.train):,} scanned digits, hold out {len(scans.test):,}")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]}"),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("training", total=EPOCHS, loss="-")
        network = digits.train(
            scans.train,
            EPOCHS,
            lambda epoch: progress.update(bar, completed=epoch.number, loss=f"{epoch.loss:.3f}"),
        )
    console.print(f"accuracy on the held-out digits: {digits.accuracy(network, scans.test):.3f}")
    digits.export(network, FOLDER / "digits.onnx")
    labels = "".join(f"{label}\n" for label in digits.LABELS)
    (FOLDER / "labels.txt").write_text(labels, encoding="utf-8")
    return scans.test


def package() -> None:
    """Turn the ONNX file and its labels into a model package."""
    console.rule("package")
    mean, std = ",".join([str(digits.MEAN)] * 3), ",".join([str(digits.STD)] * 3)
    command: list[str | Path] = [MILLRACE, "package", FOLDER / "digits.onnx", "--name", NAME]
    command += ["--labels", FOLDER / "labels.txt", "--input-size", str(digits.SIZE)]
    command += ["--resize", "exact", "--mean", mean, "--std", std, "--scores", "logits"]
    command += ["--parity-images", FOLDER / "digits/test", "--store", FOLDER / "store"]
    say(command)
    if subprocess.run(command, check=False).returncode != 0:
        raise ServerError("packaging was refused; the reason is above")


def serve_and_ask(images: Sequence[bytes]) -> tuple[list[Reading], Stop]:
    """Start the server, ask about ``images`` through every protocol, and stop it again."""
    console.rule("serve")
    address = Address(NAME, free_port(), free_port())
    command: list[str | Path] = [MILLRACE, "serve", NAME, "--store", FOLDER / "store"]
    command += ["--http-port", str(address.http_port), "--grpc-port", str(address.grpc_port)]
    command += ["--frontends", "1", "--instances", "1"]
    say(command)
    server = Server(command, FOLDER / "server.log")
    try:
        server.wait_ready(f"{address.url}/v2/health/ready", READY_TIMEOUT_S)
        readings = asyncio.run(clients.read_all(address, images))
    except (httpx.HTTPError, grpc.RpcError) as error:
        raise ServerError(f"the server did not answer: {error}\n{server.log_tail()}") from error
    finally:
        stop = server.stop(STOP_TIMEOUT_S)
    return readings, stop


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
    for text, held in checks.items():
        console.print(f"{'[green]yes[/]' if held else '[red]NO [/]'} {text}", highlight=False)
    for title in stop.left_behind:
        console.print(f"    left behind: {title}", highlight=False)
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
