"""What ``millrace top`` draws, from values."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.console import Console

from millrace.top_report import Sight, read_report
from millrace.top_shapes import Cut
from millrace.top_view import view
from tests.cli.top_pod import nothing_measured, stages_body

URL = "http://127.0.0.1:8080"


def seen(**changes: object) -> Sight:
    """A pod that answered."""
    return Sight(URL, read_report(json.dumps(stages_body(**changes))))


def drawn(*sights: Sight, width: int = 100, encoding: str = "utf-8", **options: object) -> str:
    """The view as text, on a console of ``width`` columns."""
    paper = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=paper, width=width, record=True, **options)
    console.print(view(sights, width))
    return console.export_text()


def row(text: str, first: str) -> str:
    """The one line of a drawing with a word."""
    (line,) = (line for line in text.splitlines() if re.search(rf"\b{first}\s+[\d-]", line))
    return line


def test_every_stage_has_a_row_in_the_order_of_the_way():
    """Then the cores, which they share."""
    lines = drawn(seen()).splitlines()

    rows = [
        match[1] for line in lines if (match := re.match(r"│ [> ] (\w+) +[\d,]+ +[\d.]+ ", line))
    ]
    assert rows == [
        "receive", "decode", "queue", "copy", "infer", "collect", "respond", "cores",
    ]  # fmt: skip


def test_a_stage_shows_capacity_share_utilisation_busy_time_and_workers():
    """Infer could do 2.2 times what decode can."""
    assert re.sub("[│█░ ]+", " ", row(drawn(seen()), "infer")).split() == [
        "infer", "905", "2.20", "41%", "1.10", "1", "instance",
    ]  # fmt: skip


def test_the_bottleneck_is_marked_without_colour():
    """By a sign in its row and in no other."""
    marked = [line for line in drawn(seen(), no_color=True).splitlines() if "│ > " in line]

    assert [line.split()[2] for line in marked] == ["decode"]


def test_the_bar_is_the_share_of_what_limits():
    """The bottleneck's fills the column, solid as far as it is used; a stage of half has half."""
    stages = [
        {"name": name, "capacity": capacity, "busy_ms": 1, "utilisation": used, "workers": 1,
         "worker": "thread"}
        for name, capacity, used in (("decode", 100, 0.5), ("infer", 200, 0.25))
    ]  # fmt: skip
    text = drawn(seen(stages=stages), width=80)

    decode, infer = row(text, "decode"), row(text, "infer")
    full = decode.count("█") + decode.count("░")
    assert decode.count("█") == pytest.approx(full / 2, abs=1)
    assert infer.count("█") == pytest.approx(full / 4, abs=1)
    assert infer.count("█") + infer.count("░") == pytest.approx(full / 2, abs=1)


def test_the_head_tells_rate_latency_and_advice():
    """As the pod says them."""
    text = drawn(seen(), width=110)

    assert "380 images/s of 412   headroom 31.8   p50 8.10 ms   p99 21.0 ms   last 10 s" in text
    assert stages_body()["advice"] in text


def test_slots_batches_and_instances_are_shown():
    """One that is down is said to be."""
    text = drawn(seen())

    assert "14 of 256 taken, 5 not with an instance yet" in text
    assert "20 of 1, 88 of 4" in text
    up, down = (re.sub("[│█ ]+", " ", line).strip() for line in text.splitlines()[-3:-1])
    assert up == "0 cpu:0 4 190 3.40 of 8 93%"
    assert down == "1 down cuda:0 - - - of 8 -"


def test_many_batch_sizes_are_the_most_frequent_and_a_rest():
    """All are counted."""
    text = drawn(seen(batch_sizes={str(size): size for size in range(1, 11)}))

    assert "batches  3 of 3, 4 of 4" in text
    assert "10 of 10, 3 of other sizes" in text


def test_before_the_first_image_there_are_dashes():
    """And a sentence that says why."""
    text = drawn(Sight(URL, read_report(json.dumps(nothing_measured()))))

    assert "- images/s of -" in text
    assert "nothing measured yet: send it images" in text
    assert row(text, "decode").split()[2:5] == ["-", "-", "-"]


@pytest.mark.parametrize("width", [20, 40, 60, 79, 80, 100, 200])
@pytest.mark.parametrize("changes", [{}, {"images_per_second": 1e9, "capacity": 1e12}])
def test_no_line_is_wider_than_the_terminal(width, changes):
    """At any width."""
    pods = (seen(**changes), Sight(URL, problem=f"{URL}: no answer (Connection refused)"))

    assert max(map(len, drawn(*pods, width=width).splitlines())) <= width


def test_sixty_columns_cut_no_cell():
    """The longer columns are left out there instead."""
    text = drawn(seen(), width=60)

    assert "…" not in text
    assert "decode thread" in text  # of the advice, and not of a column
    assert "2 decode threads" not in text


def test_a_terminal_without_unicode_gets_ascii_only():
    """Bars and boxes too."""
    text = drawn(seen(), encoding="ascii")

    assert text.isascii()
    assert "#" in row(text, "decode")


def test_a_pod_that_does_not_answer_is_one_line():
    """With how long ago it did."""
    away = Sight(URL, problem=f"{URL}: no answer (Connection refused)", silent_s=12.3)

    assert drawn(away).splitlines() == [
        f"{URL}: no answer (Connection refused); trying again (last answer 12 s ago)"
    ]


def test_several_pods_have_a_sum_and_a_line_each():
    """One that does not answer is counted and said first."""
    lines = drawn(seen(), seen(), Sight(URL, problem="away"), Sight("http://b")).splitlines()

    assert lines[0] == "away; trying again"
    assert lines[1] == "http://b: asking"
    assert lines[2] == "2 of 4 pods answer: 760 images/s of 824"
    assert [line.split() for line in lines[4:6]] == [
        [URL, "380", "412", "decode", "8.10", "21.0"],
        [URL, "380", "412", "decode", "8.10", "21.0"],
    ]
    assert sum("╭─ digits/1" in line for line in lines) == 2


def test_markup_and_terminal_codes_of_a_pod_are_text():
    """What a pod says is not obeyed."""
    text = drawn(seen(name="[red]d", advice="a\x1b[2Jb\nc"), force_terminal=True)

    assert "[red]d/1" in text
    assert "a?[2Jb c" in text


def test_a_low_window_says_how_much_it_hides():
    """The upper part is shown."""
    console = Console(file=io.StringIO(), width=60, height=10)
    lines = console.render_lines(view([seen()], 60), console.options.update(height=10))

    texts = ["".join(segment.text for segment in line).strip() for line in lines]
    assert len(texts) == 10
    assert texts[0].startswith("╭─ digits/1")
    assert re.fullmatch(r"\d+ more lines: make the window taller", texts[-1])


def test_a_window_that_fits_hides_nothing():
    """Not one line."""
    console = Console(file=io.StringIO(), width=60)
    lines = console.render_lines(Cut("a\nb"), console.options.update(height=2))

    assert ["".join(segment.text for segment in line).strip() for line in lines] == ["a", "b"]
