"""The fuzzer's targets without the fuzzer: their seeds, small changes to these, what was found.

``make fuzz`` takes minutes and needs atheris; this keeps the targets from rotting in between.
"""

from __future__ import annotations

import pytest

from tests.fuzz.mutation import change_json
from tests.fuzz.targets import TARGETS

CHANGES = 40  # of each seed; the fuzzer makes millions


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_is_read(name):
    """A seed that its target chokes on would end every run at its start."""
    seeds = TARGETS[name].seeds()

    assert len(set(seeds)) == len(seeds)
    for seed in seeds:
        TARGETS[name].run(seed)


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if target.json])
def test_changed_json_is_parsed_or_refused(name):
    """Each change is another request, still of JSON, and the target stands it."""
    target = TARGETS[name]
    seeds = [seed for seed in target.seeds() if b"{" in seed]
    changed = {change_json(seed, target.words, way) for seed in seeds for way in range(CHANGES)}

    assert len(changed) > CHANGES
    for data in changed:
        target.run(data)
