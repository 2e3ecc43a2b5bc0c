"""What a process took, told apart from what it had taken before."""

import os
import time

import psutil

from benchmarks.processes import Meter


def test_a_meter_counts_cpu_from_its_making_on():
    """A tenth of a second of work shows, and all the time before does not."""
    burn(0.2)
    myself = psutil.Process()
    meter = Meter([myself])
    burn(0.1)
    (usage,) = meter.read()
    times = myself.cpu_times()
    assert 0.09 <= usage.cpu_s < times.user + times.system - 0.1


def test_peak_memory_is_at_least_what_is_resident_now():
    """In MiB."""
    myself = psutil.Process()
    resident_mib = myself.memory_info().rss / 2**20
    (usage,) = Meter([myself]).read()
    assert resident_mib * 0.9 < usage.peak_mib


def burn(cpu_s):
    """Use CPU for so long."""
    until = sum(os.times()[:2]) + cpu_s
    while sum(os.times()[:2]) < until:
        time.perf_counter()
