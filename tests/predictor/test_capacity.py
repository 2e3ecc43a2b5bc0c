"""What stages could do, reckoned from what was counted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.advice import advice
from predictor.capacity import STAGES, Balance, balance, slots_capacity
from predictor.counts import BatchTotals, Work
from predictor.device_work import DeviceWork
from predictor.types import BatchCost
from predictor.workers import Use, Workers, use

MS = 1_000_000  # ns
COST = BatchCost(0.010, 0.001, 32)  # 32 images in 42 ms
WORKERS = Workers(frontends=1, decode_threads=2, slots=256, cores=8)
SECONDS = 10.0


def worked(images: int, **more: int) -> Work:
    """Frontends that took 0.2 ms of an event loop and 4 ms of a decoder for each image."""
    usual = {
        "images": images,
        "respond_ns": images * MS // 20,
        "held_ns": images * 5 * MS,
        "loop_ns": images * MS // 5,
        "pool_ns": images * 4 * MS,
        "other_ns": images * MS // 10,
        "pool_images": images,
        "connections_ns": int(8 * SECONDS * 1e9),
    }
    return Work(**(usual | more))


def device(images: int, size: int = 32, cost: BatchCost = COST, **more: float) -> DeviceWork:
    """An instance whose batches of one size took what warm-up said."""
    batch_ns = int(1e9 * (cost.per_batch_s + size * cost.per_image_s))
    count = images // size
    ran = (BatchTotals(size, count, (count * MS, count * batch_ns, count * MS // 2)),)
    return DeviceWork(cost, ran if count else (), **({"cpu_s": 0.1, "feeder_s": 0.05} | more))


def capacities(found: Balance) -> dict[str, float | None]:
    """By stage."""
    return {stage.name: stage.capacity for stage in found.stages}


def test_a_pod_that_did_nothing_knows_what_its_devices_can_do_and_no_limit():
    """Nothing is guessed."""
    found = balance(Work(), SECONDS, [device(0)], WORKERS)

    assert tuple(stage.name for stage in found.stages) == STAGES
    known = {name for name, capacity in capacities(found).items() if capacity is not None}
    assert known == {"infer", "collect"}
    assert (found.bottleneck, found.capacity, advice(found)) == (None, None, "")


def test_without_an_instance_that_is_the_limit():
    """They may be restarting; what was measured of the others still stands."""
    found = balance(worked(100), SECONDS, [], WORKERS)

    assert found.bottleneck is not None
    assert (found.bottleneck.name, found.capacity) == ("infer", 0)
    assert capacities(found)["queue"] is None
    assert capacities(found)["decode"] == pytest.approx(500)
    assert advice(found) == "infer limits: no instance takes work at the moment"


def test_decoders_limit_where_they_are_the_slowest():
    """Two threads at 4 ms an image."""
    found = balance(worked(3200), SECONDS, [device(3200)], WORKERS)

    assert found.bottleneck is not None
    assert (found.bottleneck.name, found.capacity) == ("decode", pytest.approx(500))
    assert advice(found) == (
        "decode limits: 500 img/s on 2 decode threads; infer could do 753: add 2 decode threads"
    )


def test_more_decoders_than_cores_are_no_faster():
    """They wait for each other."""
    workers = replace(WORKERS, decode_threads=6, cores=2)

    assert capacities(balance(worked(320), SECONDS, [], workers))["decode"] == pytest.approx(500)


def test_the_cores_limit_where_all_that_is_done_takes_more_than_there_are():
    """Two threads could do 500 if nothing else ran on the two cores."""
    workers = replace(WORKERS, cores=2)
    found = balance(worked(3200), SECONDS, [device(3200, cpu_s=6.4, on_cores=False)], workers)

    assert found.by_cores
    assert found.bottleneck is not None
    assert found.bottleneck.name == "decode"
    assert found.capacity == found.cores.capacity == pytest.approx(2 / 0.0063)
    assert "for want of cores: 317 img/s on 2 cores" in advice(found)


def test_a_device_limits_by_what_full_batches_cost():
    """However small they are while there is little to do."""
    alone = balance(worked(100), SECONDS, [device(100, size=1)], replace(WORKERS, decode_threads=8))

    assert alone.bottleneck is not None
    assert alone.bottleneck.name == "infer"
    assert alone.capacity == pytest.approx(32 / (0.042 + 0.0005 / 1.05 * 2.6), rel=1e-3)


def test_batches_that_take_longer_than_at_warm_up_do_so_when_they_are_full():
    """The device may be shared by now, or hot."""
    slow = BatchTotals(1, 10, (0, 10 * 22 * MS, 0))  # 11 ms were said
    two = DeviceWork(COST, (slow,))

    assert two.capacity == pytest.approx(32 / 0.084)


def test_instances_add_up():
    """Unlike ones as well."""
    other = device(3200, cost=BatchCost(0.0, 0.02, 1), size=1)
    one = balance(worked(100), SECONDS, [device(3200)], WORKERS)
    both = balance(worked(100), SECONDS, [device(3200), other], WORKERS)

    added = (capacities(both)["infer"] or 0) - (capacities(one)["infer"] or 0)
    assert added == pytest.approx(1 / 0.0205, rel=1e-3)


def test_what_an_event_loop_does_besides_counts_for_each_of_its_stages():
    """Receiving can have no more of it without responding having more as well."""
    found = capacities(balance(worked(100), SECONDS, [device(3200)], WORKERS))

    assert found["receive"] == found["respond"] == pytest.approx(5000)


def test_the_longest_stage_of_the_slowest_worker_is_named():
    """Receiving takes 0.15 of the loop's 0.2 ms."""
    fast = device(3200, cost=BatchCost(0.0, 0.00001, 32))
    found = balance(
        worked(3200, pool_ns=0, pool_images=0), SECONDS, [fast], replace(WORKERS, slots=4096)
    )

    assert found.bottleneck is not None
    assert found.bottleneck.name == "receive"
    assert advice(found).startswith("receive limits: 5,000 img/s on 1 event loop; ")
    assert "frontend" in advice(found)


def test_thumbnails_are_decoded_by_the_event_loop():
    """Then it does that stage as well."""
    work = worked(1000, pool_ns=0, pool_images=0, here_images=1000, here_ns=1000 * MS // 10)
    decode = balance(work, SECONDS, [device(3200)], WORKERS).stages[1]

    assert (decode.worker, decode.capacity) == ("event loop", pytest.approx(5000))
    assert decode.busy_s == pytest.approx(0.0001)


def test_images_that_need_no_thread_count_as_well():
    """One in ten is a photo of 10 ms; two threads stand 2,000 images a second of such traffic."""
    work = worked(1000, pool_ns=100 * 10 * MS, pool_images=100, here_images=900, here_ns=900)
    found = balance(work, SECONDS, [device(3200)], WORKERS)

    assert capacities(found)["decode"] == pytest.approx(2000)
    assert found.bottleneck is not None
    assert found.bottleneck.name == "infer"


def test_few_slots_keep_batches_small():
    """Two images, one that runs and one that waits, whatever batches might hold."""
    found = balance(worked(100, held_ns=0), SECONDS, [device(100, 1)], replace(WORKERS, slots=2))

    assert found.bottleneck is not None
    assert found.bottleneck.name == "queue"
    assert found.capacity == pytest.approx(1 / 0.0115, rel=1e-3)
    assert "max_queue_size of 64 lets batches fill" in advice(found)


def test_slots_are_taken_by_what_is_decoded_as_well():
    """Where that takes long there are fewer left for batches."""
    short, long = slots_capacity(8, 0.0, [device(320)]), slots_capacity(8, 0.05, [device(320)])

    assert long < short
    assert long == pytest.approx(8 / (0.05 + 2 * 0.0115), rel=0.5)


@given(
    slots=st.integers(1, 512),
    held_s=st.floats(0, 0.1),
    per_batch_s=st.floats(1e-5, 0.1),
    per_image_s=st.floats(1e-5, 0.1),
    largest=st.integers(1, 64),
    devices=st.integers(1, 4),
)
def test_more_slots_never_allow_for_less(slots, held_s, per_batch_s, per_image_s, largest, devices):
    """And with all that are wanted they are no limit."""
    cost = BatchCost(per_batch_s, per_image_s, largest)
    some = [DeviceWork(cost)] * devices
    whole = sum(one.capacity for one in some)
    wanted = devices * 2 * largest + whole * held_s

    capacity = slots_capacity(slots, held_s, some)
    assert 0 < capacity <= slots_capacity(slots + 1, held_s, some) * (1 + 1e-6)
    assert capacity <= slots / (held_s + per_batch_s + per_image_s) * (1 + 1e-6)
    if slots >= wanted:
        assert capacity >= whole * (1 - 1e-6)


def test_clients_limit_that_take_their_answers_slowly():
    """Eight connections that have answers lying there all the time."""
    work = worked(4000, untaken=4000 * 1000)
    found = balance(work, SECONDS, [device(3200)], replace(WORKERS, decode_threads=8))

    assert found.bottleneck is not None
    assert (found.bottleneck.name, found.bottleneck.worker) == ("respond", "connection")
    assert found.capacity == pytest.approx(400)
    assert "clients take their answers too slowly" in advice(found)


def test_clients_that_wait_themselves_limit_nothing():
    """However few they are: it is the server that they wait for."""
    work = worked(10, untaken=10 * 1000 // 100)
    respond = balance(work, SECONDS, [device(3200)], WORKERS).stages[-1]

    assert respond.worker == "event loop"


def test_a_client_that_asks_for_little_limits_nothing():
    """It takes its time to read, but there is hardly anything to be read."""
    work = worked(10, untaken=10 * 1000, connections_ns=int(0.1 * SECONDS * 1e9))
    respond = balance(work, SECONDS, [device(3200)], WORKERS).stages[-1]

    assert respond.worker == "event loop"


def test_what_other_versions_take_of_shared_workers_is_not_there():
    """Half of the event loop, of the threads and of the cores; slots and devices are its own."""
    some = Workers(2, 4, 4096, 8)
    shared = replace(some, elsewhere=Use(event_loops=1.0, decode_threads=2.0, cores=4.0))
    alone, both = (balance(worked(3200), SECONDS, [device(3200)], each) for each in (some, shared))

    ratios = {
        name: (capacities(both)[name] or 0) / (capacities(alone)[name] or 1) for name in STAGES
    }
    halved = {name for name, ratio in ratios.items() if ratio == pytest.approx(0.5)}
    assert halved == {"receive", "decode", "respond"}
    assert (both.cores.capacity or 0) == pytest.approx((alone.cores.capacity or 0) / 2)


def test_however_much_other_versions_take_something_is_left():
    """Rates of ten seconds may add up to a little more than there is."""
    workers = replace(WORKERS, elsewhere=Use(9.0, 9.0, 9.0))

    assert all(
        (capacity or 0) > 0
        for capacity in capacities(balance(worked(3200), SECONDS, [device(3200)], workers)).values()
    )


def test_what_a_version_uses_is_what_its_threads_and_instances_ran():
    """Of one event loop 1/50, of the decoders 0.4."""
    used = use(worked(1000), instances_cpu_s=30.0, seconds=10.0)

    assert used.event_loops == pytest.approx(0.02)
    assert used.decode_threads == pytest.approx(0.4)
    assert used.cores == pytest.approx(3.0 + 0.02 + 0.4 + 0.01)
    assert (used + used).cores == pytest.approx(2 * used.cores)


def test_cores_are_charged_for_processor_time_and_not_for_waiting():
    """Four instances take 10 ms for an image, and its decoder 4; but of these they run 2."""
    workers = replace(WORKERS, cores=2)
    slow = device(800, cpu_s=800 * 0.002, on_cores=True, cost=BatchCost(0.0, 0.010, 32))
    found = balance(worked(3200), SECONDS, [slow] * 4, workers)

    assert slow.infer_s / slow.images == pytest.approx(0.010)
    assert found.by_cores
    assert found.bottleneck is not None
    assert found.bottleneck.name == "decode"


def test_more_frontends_need_cores_as_well():
    """Where the cores are busy already, another event loop has nothing to run on."""
    fast = device(3200, cost=BatchCost(0.0, 0.00001, 32), cpu_s=0.0)
    work = worked(3200, pool_ns=0, pool_images=0, other_ns=0)
    roomy, tight = (Workers(1, 2, 4096, cores) for cores in (16, 1))

    assert advice(balance(work, SECONDS, [fast], roomy)).endswith("add 7 frontends")
    assert advice(balance(work, SECONDS, [fast], tight)).endswith("add 7 frontends and 7 cores")


def test_more_decoding_needs_cores_where_all_have_decoders():
    """Then more threads are of no use."""
    workers = replace(WORKERS, decode_threads=2, cores=2)
    work = worked(3200, loop_ns=3200 * MS // 100, other_ns=0)
    found = balance(work, SECONDS, [device(3200, cpu_s=0.01, feeder_s=0.01)], workers)

    assert not found.by_cores
    assert advice(found).endswith("add 2 cores")


@given(
    loop_us=st.integers(1, 10_000),
    pool_us=st.integers(1, 50_000),
    batch_ms=st.floats(0.01, 100),
    slots=st.integers(1, 1024),
    cores=st.integers(1, 64),
    threads=st.integers(1, 64),
)
def test_the_bottleneck_is_never_beaten_by_a_stage_that_can_do_less(
    loop_us, pool_us, batch_ms, slots, cores, threads
):
    """Within what counts as alike; and there is always something to say."""
    work = worked(1000, loop_ns=1000 * loop_us * 1000, pool_ns=1000 * pool_us * 1000)
    cost = BatchCost(batch_ms / 1e3, 1e-4, 16)
    found = balance(work, SECONDS, [device(1600, 16, cost)], Workers(1, threads, slots, cores))

    assert found.capacity is not None
    least = min(stage.capacity for stage in found.stages if stage.capacity is not None)
    assert found.capacity <= 1.03 * least * (1 + 1e-9)
    assert advice(found)
