"""Medians, ratios within a round, and where they go on the page."""

import pytest

from benchmarks import page, report
from benchmarks.processes import Usage
from benchmarks.report import Measurement, ModelResult


def measured(system, number, speed, concurrency=16, p50_ms=10.0, cpu_s=2.0):
    """A run of one second in which one process did everything."""
    usage = (Usage("millrace: frontend 0", cpu_s, 100.0 + number),)
    images = int(speed)
    return Measurement(
        "net", system, concurrency, number, images, speed, p50_ms, 2 * p50_ms, usage, cpu_s / 10
    )


# The second round ran on a machine half as fast.
ROUNDS = [
    measured("bare loop", 1, 200.0, concurrency=0),
    measured("Millrace, gRPC", 1, 180.0),
    measured("stock KServe, v1 base64", 1, 80.0),
    measured("stock KServe, v1 image body", 1, 90.0),
    measured("bare loop", 2, 100.0, concurrency=0),
    measured("Millrace, gRPC", 2, 90.0),
    measured("stock KServe, v1 base64", 2, 45.0),
    measured("stock KServe, v1 image body", 2, 30.0),
]


def row(system, measurements=ROUNDS):
    """The row of one system."""
    return next(each for each in report.rows(measurements) if each.system == system)


def test_speeds_are_medians_with_their_range():
    """Over rounds."""
    millrace = row("Millrace, gRPC")
    speeds = (millrace.images_per_second, millrace.slowest, millrace.fastest)
    assert speeds == (135.0, 90.0, 180.0)


def test_a_ratio_is_taken_within_a_round():
    """So that a machine that slows down between rounds does not count."""
    assert row("Millrace, gRPC").to_bare == pytest.approx(0.9)


def test_stock_is_its_faster_route_of_that_round():
    """We compare with the best it can do."""
    assert row("Millrace, gRPC").to_stock == pytest.approx(2.0)
    assert row("stock KServe, v1 base64").to_stock == pytest.approx((80 / 90 + 1) / 2)


def test_what_was_not_measured_has_no_ratio():
    """No plain KServe in these rounds, and none of it at the bare loop's concurrency."""
    assert row("Millrace, gRPC").to_plain is None
    assert row("bare loop").to_stock is None


def test_loads_are_kept_apart():
    """One row per concurrency, compared with stock at the same one."""
    more = [
        *ROUNDS,
        measured("Millrace, gRPC", 1, 300.0, concurrency=64),
        measured("stock KServe, v1 base64", 1, 100.0, concurrency=64),
    ]
    found = [each for each in report.rows(more) if each.system == "Millrace, gRPC"]
    assert [each.concurrency for each in found] == [16, 64]
    assert found[1].to_stock == pytest.approx(3.0)


def test_cpu_is_per_image_and_memory_is_the_peak():
    """Median of the first, maximum of the second; the load tool's own CPU apart."""
    frontend, tool = [
        each for each in report.process_rows(ROUNDS) if each.system == "Millrace, gRPC"
    ]
    assert frontend.title == "millrace: frontend 0"
    assert frontend.cpu_ms_per_image == pytest.approx((2000 / 180 + 2000 / 90) / 2)
    assert frontend.peak_mib == 102.0
    assert tool.title == "(load tool)"
    assert tool.cpu_ms_per_image == pytest.approx(frontend.cpu_ms_per_image / 10)


def test_the_page_has_every_model_with_its_rows_and_settings():
    """Markdown tables with one line per system."""
    result = ModelResult("net", ("Bare loop: batch 4.",), tuple(ROUNDS))
    page = report.markdown([result], 2, 8)
    assert "## net" in page
    assert "Bare loop: batch 4." in page
    assert "| Millrace, gRPC | 16 | 135.0 (90.0 to 180.0) | 10.0 | 20.0 | 0.90 | 2.00 | - |" in page


def test_new_results_replace_the_old_ones_and_nothing_else():
    """What people wrote around the measured section stays."""
    section = report.SECTION
    old, new = (f"{section.begin}\n{text}\n{section.end}\n" for text in ("old", "new"))
    page = section.insert("# Measured\n\nWhy.\n", old)
    assert page == f"# Measured\n\nWhy.\n\n{old}"
    assert section.insert(f"{page}\nAfter.\n", new) == f"# Measured\n\nWhy.\n\n{new}\nAfter.\n"


def test_what_does_not_hold_says_so():
    """In bold, so that nobody reads over it."""
    found = [page.Finding("fast", "1.0", holds=True), page.Finding("flat", "2.0", holds=False)]
    assert page.findings(found)[2:] == ["| fast | 1.0 |", "| flat | **not reached**: 2.0 |"]


def test_sections_do_not_touch_each_other():
    """Each command renews its own."""
    first, second = page.Section("first", "a"), page.Section("second", "b")
    text = second.insert(first.insert("# Measured\n", first.wrap(["old"])), second.wrap(["kept"]))
    renewed = first.insert(text, first.wrap(["new"]))
    assert ("old" in renewed, "new" in renewed, "kept" in renewed) == (False, True, True)


def test_a_section_is_printed_and_the_page_is_renewed_where_that_is_asked(
    monkeypatch, tmp_path, capsys
):
    """What is written is what was printed."""
    results = tmp_path / "RESULTS.md"
    monkeypatch.setattr(page, "RESULTS", results)
    section = page.Section("first", "a")

    section.publish(["seen"], write=False)
    printed = capsys.readouterr().out
    assert ("seen" in printed, results.exists()) == (True, False)

    section.publish(["kept"], write=True)
    printed = capsys.readouterr().out
    assert "kept" in printed
    assert printed.strip() in results.read_text(encoding="utf-8")
