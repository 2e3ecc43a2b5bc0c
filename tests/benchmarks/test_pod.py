"""What a pod says of itself, and what the kernel says of it."""

import os
import socket

import psutil

from benchmarks import pod
from benchmarks.census import census, kind_of_target
from benchmarks.pod import Cost
from benchmarks.soak import more
from benchmarks.tcp import Socket, parse_table, sockets_of

METRICS = """\
# HELP millrace_rejected_total Requests refused.
# TYPE millrace_rejected_total counter
millrace_rejected_total{model="net",reason="queue_full"} 280.0
millrace_rejected_total{model="net",reason="deadline"} 4.0
millrace_rejected_total{model="net",reason="unloaded"} 0.0
# HELP millrace_instance_up 1 while the instance takes work.
# TYPE millrace_instance_up gauge
millrace_instance_up{instance="0",model="net"} 1.0
millrace_instance_up{instance="1",model="net"} 1.0
"""
STATS = """\
{"model_stats": [{"name": "net", "version": "1", "batch_stats": [
 {"batch_size": 1, "compute_infer": {"count": 4, "ns": 24000000}},
 {"batch_size": 4, "compute_infer": {"count": 0, "ns": 0}},
 {"batch_size": 8, "compute_infer": {"count": 2, "ns": 80000000}}]}]}
"""
LOG = """\
2026-11-24 16:32:10,001 INFO [millrace: instance net cpu:0] ready: batches of up to 8, \
4.80 ms an image and 1.60 ms a batch
2026-11-24 16:32:10,001 INFO [millrace: supervisor] serving net version 1
"""
TCP = """\
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0  0 11 1 0 100 0
   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  0  0 12 1 0 20 4
   2: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  0  0 13 1 0 20 4
"""


def test_refusals_are_counted_by_reason():
    """Reasons that never came up are left out."""
    scrape = pod.parse_metrics(METRICS)
    counted = scrape.by("millrace_rejected_total", "reason")
    assert counted == {"queue_full": 280, "deadline": 4}


def test_a_metric_is_added_up_over_all_instances():
    """And is zero where the pod has none of that name."""
    scrape = pod.parse_metrics(METRICS)
    assert scrape.total("millrace_instance_up") == 2.0
    assert scrape.total("millrace_frontend_restarts_total") == 0.0


def test_batches_have_mean_milliseconds_by_size():
    """Sizes that never ran have none."""
    assert pod.parse_batch_stats(STATS) == {1: 6.0, 8: 40.0}


def test_the_log_says_what_a_full_batch_costs(tmp_path):
    """One line for each instance."""
    log = tmp_path / "log"
    log.write_text(LOG, encoding="utf-8")
    (cost,) = pod.costs(log)
    assert cost == Cost(max_batch_size=8, per_image_ms=4.8, per_batch_ms=1.6)
    assert cost.full_batch_ms == 8 * 4.8 + 1.6


def test_sockets_are_told_by_their_inodes():
    """A listener has nobody at the other end."""
    assert parse_table(TCP.splitlines(), {"11", "12"}) == [
        Socket(local_port=8080, remote_port=0, listens=True),
        Socket(local_port=8080, remote_port=50000, listens=False),
    ]


def test_a_process_has_the_sockets_it_opened():
    """A listener, in the process that tests."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert Socket(port, 0, listens=True) in sockets_of(os.getpid())


def test_descriptors_are_told_by_what_they_lead_to():
    """Sockets and memfds leak in their own ways."""
    targets = ("socket:[11]", "/memfd:millrace-slab (deleted)", "/dev/null")
    assert [kind_of_target(target) for target in targets] == ["socket", "memfd", "other"]


def test_a_socket_that_stays_open_is_a_leak():
    """What is more than there was, and nothing else."""
    myself = psutil.Process()
    before = census([myself])
    with socket.socket():
        assert more(before, census([myself])) == {"other socket": 1}
    assert more(before, census([myself])) == {}
