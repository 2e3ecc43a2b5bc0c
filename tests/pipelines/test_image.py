"""The image of the pipeline's steps: that it would hold what they import."""

from __future__ import annotations

import ast
import re
from importlib import metadata
from pathlib import Path

import pytest

from tests.rooms import ROOMS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "image" / "Containerfile.pipeline").read_text(encoding="utf-8")
IGNORED = (ROOT / ".containerignore").read_text(encoding="utf-8").splitlines()
EXTRAS = ("tracing", "analyzer", "pipelines", "registry", "rollout")
# Of PyTorch sources, of MLPerf and of the demo; each is imported where it is asked for.
OPTIONAL = {"torch", "torchvision", "onnxscript", "sklearn", "mlperf_loadgen"}


def imported(room: str) -> set[str]:
    """Top-level names that any module of a room imports, wherever it does."""
    found = set()
    for file in (ROOT / room).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {each.name.partition(".")[0] for each in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add((node.module or "").partition(".")[0])
    return found


def test_the_folders_that_steps_and_commands_import_are_copied():
    """And reach the builder."""
    own = {folder.name for folder in ROOT.iterdir() if (folder / "__init__.py").exists()}
    needed = {"millrace"} | set().union(*map(imported, ROOMS)) & own
    assert needed == set(ROOMS)
    assert set(re.findall(r"^COPY (\w+) /source/\1$", TEXT, re.MULTILINE)) == needed
    assert {f"!{room}" for room in needed} <= set(IGNORED)


def test_its_extras_have_every_package_that_steps_import():
    """By what setup.cfg says, and what the packages themselves need."""
    assert f"'.[{','.join(EXTRAS)}]'" in TEXT
    assert f"extras={','.join(EXTRAS)}" in (ROOT / "image/build.sh").read_text("utf-8")
    there = with_all_they_need({"millrace"}, EXTRAS)
    distributions = metadata.packages_distributions()
    for name in set().union(*map(imported, ROOMS)) - OPTIONAL - set(ROOMS):
        holders = {normal(each) for each in distributions.get(name, [])}
        assert not holders or holders & there, f"{name} of {holders} is in no extra of the image"


def with_all_they_need(names: set[str], extras: tuple[str, ...]) -> set[str]:
    """Distributions, and those that they ask for, as far as they are installed."""
    found: set[str] = set()
    waiting = [(name, extras) for name in names]
    while waiting:
        name, wanted = waiting.pop()
        if name in found:
            continue
        try:
            needs = requirements(name)
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        for need in needs:
            extra = re.search(r"extra == ['\"]([^'\"]+)", need)
            if extra is None or extra[1] in wanted:
                waiting.append((normal(re.match(r"[\w.-]+", need)[0]), ()))
    return found


def requirements(name: str) -> list[str]:
    """Of the project by its setup.cfg, which may be newer than what is installed."""
    if name != "millrace":
        return metadata.requires(name) or []
    import configparser

    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    needs = config["options"]["install_requires"].split("\n")
    for extra, packages in config["options.extras_require"].items():
        needs += [f"{each}; extra == '{extra}'" for each in packages.split("\n") if each]
    return [each for each in needs if each and not each.startswith("#")]


def normal(name: str) -> str:
    """As package indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("word", ["HEALTHCHECK NONE", "ENTRYPOINT []"])
def test_nothing_is_served_from_it(word):
    """KFP says what runs in a step, by python3."""
    assert word in TEXT
