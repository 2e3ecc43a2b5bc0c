"""Gates judged on results of real answers: what passes, what does not, and what is not proven."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from analyzer.durations import batch_speed
from analyzer.errors import GateError
from analyzer.gate import judge, p99_sizes, read_gate
from analyzer.gate_file import schema_text
from analyzer.result import Finding, GateResult, Result, Uncompared
from tests.analyzer.answers import predictions
from tests.analyzer.results import answered, result, robust, speed, timed

ROOT = Path(__file__).parents[2]


@pytest.fixture
def gate(tmp_path):
    """Reads a gate from text."""

    def read(text):
        file = tmp_path / "gate.yaml"
        file.write_text(text, encoding="utf-8")
        return read_gate(file)

    return read


def only(found: GateResult, rule: str):
    """The one verdict of a rule."""
    (verdict,) = [v for v in found.verdicts if v.rule == rule]
    return verdict


def test_nine_of_ten_do_not_prove_that_85_percent_are_right(gate):
    """The figure keeps the rule, its lower bound does not; 900 of 1,000 do prove it."""
    rules = gate("absolute: {top1: {at_least: 0.85}}")
    few = judge(rules, result(answered(9, 10)), None)
    many = judge(rules, result(answered(900, 1_000)), None)

    verdict = only(few, "absolute.top1")
    assert not few.passed
    assert (verdict.figure, verdict.threshold, verdict.decided) == (0.9, 0.85, False)
    assert verdict.bound == pytest.approx(0.555, abs=1e-3)
    assert "9 of 10" in verdict.text
    assert "not proven" in verdict.text
    assert many.passed
    assert only(many, "absolute.top1").text == (
        "absolute.top1 of new on d: 0.9 (900 of 1,000), surely 0.8797 or more; "
        "0.85 or more is asked: passed"
    )


def test_a_model_that_is_surely_worse_fails(gate):
    """And the verdict says that more images would not help."""
    found = judge(gate("absolute: {top1: {at_least: 0.85}}"), result(answered(600, 1_000)), None)

    assert only(found, "absolute.top1").decided
    assert only(found, "absolute.top1").text.endswith(": failed")


def test_each_model_but_the_champion_is_judged(gate):
    """One bad candidate is enough for a no."""
    rules = gate("absolute: {top1: {at_least: 0.8}}")
    analysis = result(
        answered(500, 1_000, model="old"),
        answered(900, 1_000, model="new"),
        answered(700, 1_000, model="bad"),
    )
    found = judge(rules, analysis, "old")

    verdicts = {v.model: v.passed for v in found.verdicts if v.rule == "absolute.top1"}
    assert verdicts == {"new": True, "bad": False}
    assert (found.passed, found.champion, found.file) == (False, "old", "gate.yaml")


@pytest.mark.parametrize(
    ("champion", "said"), [("other", "'other' was not analysed"), ("new", "name one more")]
)
def test_a_gate_needs_a_candidate_and_the_champion_that_it_is_told(gate, champion, said):
    """Either is refused."""
    with pytest.raises(GateError, match=said):
        judge(gate("absolute: {top1: {at_least: 0}}"), result(answered(9, 10)), champion)


def test_a_candidate_is_compared_with_the_champion_image_by_image(gate):
    """20 images lost and 10 won of 10,000 are within 1 %; two rates of 0.9 would not show that."""
    rules = gate("relative: {top1: {worse_by_at_most: 0.003}}")
    champion, candidate = answered(9_000, 10_000, model="old"), answered(9_000, 10_000)
    said = candidate.indices[:, 0].copy()
    said[:20] = (said[:20] + 1) % 10
    said[9_000:9_010] = candidate.truth[9_000:9_010]
    candidate = predictions(candidate.truth, said, [0.9] * 10_000, labels=10, model="new")

    for order in ((champion, candidate), (candidate, champion)):
        verdict = only(judge(rules, result(*order), "old"), "relative.top1")
        assert verdict.passed
        assert verdict.figure == pytest.approx(-0.001)
        assert -0.003 < verdict.bound < -0.001
        assert "10 won and 20 lost of 10,000" in verdict.text
    tighter = gate("relative: {top1: {worse_by_at_most: 0.001}}")
    assert not judge(tighter, result(champion, candidate), "old").passed


def test_the_same_answers_on_few_images_prove_no_equality(gate):
    """Identical on 50 images: the two may still differ by 7 % elsewhere."""
    analysis = result(answered(45, 50, model="old"), answered(45, 50))

    assert not judge(gate("relative: {top1: {worse_by_at_most: 0.05}}"), analysis, "old").passed
    assert judge(gate("relative: {top1: {worse_by_at_most: 0.08}}"), analysis, "old").passed


def test_no_class_may_fall_below_the_floor(gate):
    """One of ten does: 10 of its 100 images are right, 990 of the others' 900 all."""
    answers = answered(1_000, 1_000)
    said = answers.indices[:, 0].copy()
    said[np.flatnonzero(answers.truth == 3)[10:]] = 4
    analysis = result(predictions(answers.truth, said, [0.9] * 1_000, labels=10, model="new"))
    verdict = only(
        judge(gate("absolute: {class_recall: {at_least: 0.8}}"), analysis, None),
        "absolute.class_recall",
    )

    assert not verdict.passed
    assert "10 of 100 of 'c3'" in verdict.text
    assert "more classes" not in verdict.text
    assert judge(gate("absolute: {class_recall: {at_least: 0.04}}"), analysis, None).passed


def test_small_classes_are_left_out_only_where_the_gate_says_so(gate):
    """A class of 5 images can prove nothing; one of none is never judged, and said."""
    truth = [0] * 200 + [1] * 5
    analysis = result(predictions(truth, truth, [0.9] * 205, labels=10, model="new"))
    strict = judge(gate("absolute: {class_recall: {at_least: 0.9}}"), analysis, None)
    lenient = judge(
        gate("absolute: {class_recall: {at_least: 0.9, least_images: 50}}"), analysis, None
    )

    assert not strict.passed
    assert "5 of 5 of 'c1'" in only(strict, "absolute.class_recall").text
    assert "8 with too few images" in only(strict, "absolute.class_recall").text
    assert lenient.passed


def test_a_class_may_not_lose_to_the_champions(gate):
    """All that is lost is lost in one class."""
    champion, candidate = answered(2_000, 2_000, model="old"), answered(2_000, 2_000)
    said = candidate.indices[:, 0].copy()
    said[np.flatnonzero(candidate.truth == 7)[:30]] = 0
    candidate = predictions(candidate.truth, said, [0.9] * 2_000, labels=10, model="new")
    rules = gate(
        "relative: {top1: {worse_by_at_most: 0.03}, class_recall: {worse_by_at_most: 0.05}}"
    )

    for order in ((champion, candidate), (candidate, champion)):
        found = judge(rules, result(*order), "old")
        assert only(found, "relative.top1").passed
        assert not only(found, "relative.class_recall").passed
        assert "0 won and 30 lost of 200 of 'c7'" in only(found, "relative.class_recall").text


def test_calibration_is_judged_by_its_bound(gate):
    """0.9 said and 0.9 right: of 10 images nothing is proven, of 5,000 it is."""
    rules = gate("absolute: {ece: {at_most: 0.03}}")

    assert not judge(rules, result(answered(9, 10)), None).passed
    assert judge(rules, result(answered(4_500, 5_000)), None).passed
    assert not judge(rules, result(answered(4_500, 5_000, score=0.8)), None).passed


def test_calibration_is_compared_with_the_champions(gate):
    """0.02 off against 0 off."""
    rules = "relative: {ece: {worse_by_at_most: %s}}"
    analysis = result(answered(9_000, 10_000, model="old"), answered(9_000, 10_000, score=0.88))

    assert judge(gate(rules % 0.04), analysis, "old").passed
    assert not judge(gate(rules % 0.01), analysis, "old").passed


def test_an_image_without_an_answer_counts_against_a_model_whatever_the_gate_says(gate):
    """A tenth of them is too many unless that is allowed."""
    rules, analysis = "absolute: {top1: {at_least: 0.5}%s}", result(answered(900, 900, missing=100))

    assert not only(judge(gate(rules % ""), analysis, None), "absolute.unanswered").passed
    assert judge(gate(rules % ", unanswered: {at_most: 0.2}"), analysis, None).passed


def test_a_constant_classifier_does_not_pass_by_the_classes_that_it_lacks(gate):
    """Right in all of 500 images of its one class; the 500 of the other are judged by no figure."""
    truth = [0] * 500 + [-1] * 500
    constant = predictions(truth, [0] * 1_000, [1.0] * 1_000, labels=1, model="new")
    analysis = result(dataclasses.replace(constant, unknown_class=500))
    rules = "absolute: {top1: {at_least: 0.9}, ece: {at_most: 0.1}%s}"
    found = judge(gate(rules % ""), analysis, None)

    assert [v.rule for v in found.verdicts if not v.passed] == ["absolute.unknown_class"]
    verdict = only(found, "absolute.unknown_class")
    assert (verdict.figure, verdict.decided) == (0.5, True)
    assert "500 of 1,000 labelled images" in verdict.text
    assert judge(gate(rules % ", unknown_class: {at_most: 0.5}"), analysis, None).passed


def test_images_that_nobody_has_labelled_are_of_no_unknown_class(gate):
    """A gate about size or speed may be judged on photos."""
    photos = predictions([-1] * 5, [0] * 5, [0.9] * 5, labels=10, model="new")

    assert judge(gate("absolute: {size: {at_most: 2MB}}"), result(photos), None).passed


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_best_five_of_a_model_of_fewer_classes_are_all_of_them(gate, classes):
    """It can keep the rule, which others with one answer of ten classes cannot."""
    said = [list(range(classes))] * 100
    few = predictions([1] * 100, said, [[0.1] * classes] * 100, labels=classes, model="new")
    rules = gate("absolute: {top5: {at_least: 0.95}}")

    assert only(judge(rules, result(few), None), "absolute.top5").passed
    assert "not measured" in only(judge(rules, result(answered(9, 9)), None), "absolute.top5").text


def test_p99_needs_enough_batches_to_be_bounded(gate):
    """100 prove nothing; 2,000 prove that 10 ms are kept, and 8 are not."""
    rules = "absolute: {p99: [{batch_size: 8, at_most_s: %s}]}"

    def found(batches, at_most):
        analysis = result(answered(9, 10), speeds={"new": speed(timed(1e-3, batches))})
        return only(judge(gate(rules % at_most), analysis, None), "absolute.p99")

    assert not found(100, 0.01).passed
    assert found(100, 0.01).bound is None
    assert "too few to bound it" in found(100, 0.01).text
    assert "100 batches of 8 on cpu of the 368 that it takes" in found(100, 0.01).text
    assert found(2_000, 0.01).passed
    assert (found(2_000, 0.008).passed, found(2_000, 0.008).decided) == (False, True)
    assert "2,000 batches of 8 on cpu" in found(2_000, 0.01).text


def test_a_model_that_met_a_busy_machine_is_not_decided_to_be_slower(gate):
    """The same model twice: in two of its four rounds, one of them had a neighbour."""
    quiet, busy = [0.010] * 100, [0.034] * 100
    speeds = {
        name: speed(timed(1e-3, 10).model_copy(update={"batches": (batch_speed(1, *rounds),)}))
        for name, rounds in (("old", [quiet] * 4), ("new", [quiet, busy, quiet, busy]))
    }
    analysis = result(answered(9, 10, model="old"), answered(9, 10), speeds=speeds)
    rules = "relative: {p99: [{batch_size: 1, ratio_at_most: 1.2}]}"
    verdict = only(judge(gate(rules), analysis, "old"), "relative.p99")

    assert verdict.figure == pytest.approx(3.4)
    assert (verdict.passed, verdict.decided) == (False, False)
    assert "not proven" in verdict.text


def test_a_gate_says_which_batches_are_timed_for_their_tail(gate):
    """Of both sections, each size once."""
    rules = gate(
        "absolute: {p99: [{batch_size: 8, at_most_s: 1}, {batch_size: 12, at_most_s: 1}]}\n"
        "relative: {p99: [{batch_size: 8, ratio_at_most: 2}]}"
    )

    assert p99_sizes(rules) == (8, 12)
    assert p99_sizes(gate("absolute: {top1: {at_least: 0.5}}")) == ()


def test_throughput_is_of_the_best_batch_unless_one_is_named(gate):
    """Of the variant that was analysed, on each device."""
    variants = (
        timed(1e-3, 400),
        timed(1e-4, 400, file="int8.onnx"),
        timed(5e-4, 400, device="cuda"),
    )
    analysis = result(answered(9, 10), speeds={"new": speed(*variants)})

    def verdicts(rule):
        found = judge(gate(f"absolute: {{throughput: [{rule}]}}"), analysis, None)
        return [v.passed for v in found.verdicts if v.rule == "absolute.throughput"]

    assert verdicts("{at_least: 900}") == [True, True]
    assert verdicts("{at_least: 1500}") == [False, True]
    assert verdicts("{at_least: 1500, device: cuda, batch_size: 8}") == [True]
    assert verdicts("{at_least: 1, batch_size: 64}") == [False]


def test_speed_and_size_are_compared_with_the_champions_as_ratios(gate):
    """The new one takes 1.2 times as long, on the one device that both were measured on."""
    analysis = result(
        answered(9, 10, model="old"),
        answered(9, 10),
        speeds={
            "old": speed(timed(1e-3, 3_000)),
            "new": speed(timed(1.2e-3, 3_000), timed(1e-4, 3_000, device="cuda")),
        },
        sizes={"old": 4_000_000, "new": 2_000_000},
    )

    def passed(rule):
        return judge(gate(f"relative: {{{rule}}}"), analysis, "old").passed

    assert passed("p99: [{batch_size: 8, ratio_at_most: 1.3}]")
    assert not passed("p99: [{batch_size: 8, ratio_at_most: 1.1}]")
    assert not passed("p99: [{batch_size: 4, ratio_at_most: 1.3}]")
    assert passed("throughput: [{ratio_at_least: 0.8}]")
    assert not passed("throughput: [{ratio_at_least: 0.9}]")
    assert not passed("throughput: [{ratio_at_least: 0.8, device: cuda}]")
    assert passed("size: {ratio_at_most: 0.5}")
    assert not passed("size: {ratio_at_most: 0.4}")


@pytest.mark.parametrize(("most", "passed"), [("2MB", True), ("1MiB", False), ("2000000", True)])
def test_a_size_is_a_fact(gate, most, passed):
    """2 MB are 2 MB."""
    analysis = result(answered(9, 10), sizes={"new": 2_000_000})

    assert judge(gate(f"absolute: {{size: {{at_most: {most}}}}}"), analysis, None).passed is passed


def test_augmentations_may_cost_so_much_on_average_and_by_the_worst(gate):
    """Of 10,000: blur costs 5 %, snow 30 %, together 17.5 %."""
    points = robust(9_000, 10_000, blur=(8_800, 8_200), snow=(7_000, 5_000))
    analysis = result(answered(9, 10), robustness={"new": points})

    def found(rule):
        rules = gate(f"absolute: {{robustness_drop: {rule}}}")
        return only(judge(rules, analysis, None), "absolute.robustness_drop")

    assert found("{at_most: 0.19}").figure == pytest.approx(0.175)
    assert found("{at_most: 0.19}").passed
    assert not found("{at_most: 0.178}").passed
    assert found("{at_most: 0.25, of: worst}").decided
    assert found("{at_most: 0.32, of: worst}").passed
    assert "snow" in found("{at_most: 0.32, of: worst}").text
    assert (
        "of new on d: not measured"
        in only(
            judge(gate("absolute: {robustness_drop: {at_most: 1}}"), result(answered(9, 10)), None),
            "absolute.robustness_drop",
        ).text
    )


def test_what_was_reckoned_image_by_image_bounds_the_mean_drop(gate):
    """It is narrower than what counts alone allow, which 0.178 would not pass."""
    points = robust(9_000, 10_000, blur=(8_800, 8_200), snow=(7_000, 5_000))
    points = points.model_copy(
        update={"mean_drop": 0.175, "mean_drop_low": 0.173, "mean_drop_high": 0.177}
    )
    analysis = result(answered(9, 10), robustness={"new": points})
    rules = gate("absolute: {robustness_drop: {at_most: 0.178}}")

    verdict = only(judge(rules, analysis, None), "absolute.robustness_drop")

    assert verdict.passed
    assert verdict.bound == 0.177


def test_a_candidate_may_not_be_much_more_fragile_than_the_champion(gate):
    """0.12 against 0.10."""
    analysis = result(
        answered(9, 10, model="old"),
        answered(9, 10),
        robustness={
            "old": robust(9_000, 10_000, blur=(8_500, 7_500)),
            "new": robust(9_000, 10_000, blur=(8_400, 7_200)),
        },
    )
    rules = "relative: {robustness_drop: {worse_by_at_most: %s}}"

    assert judge(gate(rules % 0.05), analysis, "old").passed
    assert not judge(gate(rules % 0.02), analysis, "old").passed


def test_findings_in_the_data_stop_a_model(gate):
    """Errors, or warnings as well."""
    findings = [Finding(kind="imbalance", severity="warning", text="c1 has few images")]
    analysis = result(answered(9, 10), findings=findings)

    def found(severity):
        rules = gate(f"absolute: {{data_findings: {{severity: {severity}}}}}")
        return only(judge(rules, analysis, None), "absolute.data_findings")

    assert found("error").passed
    assert not found("warning").passed
    assert "c1 has few images" in found("warning").text


def test_what_is_found_of_the_champion_does_not_stop_the_candidate(gate):
    """Only what is odd about the data or about the candidate itself."""
    rules = gate("absolute: {data_findings: {severity: error}}")

    def passed(model):
        lacks = Finding(kind="labels", severity="error", text="it has no such class", model=model)
        analysis = result(answered(9, 10, model="old"), answered(9, 10), findings=[lacks])
        return only(judge(rules, analysis, "old"), "absolute.data_findings").passed

    assert [passed("old"), passed("new"), passed(None)] == [True, False, False]


def test_models_that_cannot_be_compared_are_said_with_the_reason(gate):
    """In the words of whoever tried; where nobody did, that it was not done."""
    why = "new and old cannot be compared: only one of them knows the class 'cat'"
    rules = gate("relative: {top1: {worse_by_at_most: 1}, class_recall: {worse_by_at_most: 1}}")
    apart = result(answered(9, 10, model="old"), answered(9, 10)).model_copy(
        update={"agreements": ()}
    )
    tried = Uncompared(first="old", second="new", dataset="d", why=why)
    found = judge(rules, apart.model_copy(update={"uncompared": (tried,)}), "old")

    for rule in ("relative.top1", "relative.class_recall"):
        assert only(found, rule).text == f"{rule} of new on d: not measured: {why}"
        assert "was not compared there" in only(judge(rules, apart, "old"), rule).text


@pytest.mark.parametrize("rule", ["top1", "top5", "class_recall", "ece"])
def test_what_was_not_measured_does_not_pass(gate, rule):
    """Photos without labels prove nothing of accuracy."""
    bound = "at_most: 1" if rule == "ece" else "at_least: 0"
    unlabelled = predictions([-1] * 5, [0] * 5, [0.9] * 5, labels=10, model="new")
    verdict = only(
        judge(gate(f"absolute: {{{rule}: {{{bound}}}}}"), result(unlabelled), None),
        f"absolute.{rule}",
    )

    assert (verdict.passed, verdict.figure, verdict.bound, verdict.decided) == (
        False,
        None,
        None,
        False,
    )
    assert "not measured" in verdict.text


def test_a_dataset_that_was_not_analysed_does_not_pass(gate):
    """Named by the gate, or none at all."""
    elsewhere = gate("absolute: {top1: {at_least: 0.5, datasets: [night]}}")
    rules = gate("absolute: {top1: {at_least: 0.5}}")
    analysis = result(answered(900, 1_000))
    empty = Result.model_validate(analysis.model_dump() | {"datasets": (), "evaluations": ()})

    assert only(judge(elsewhere, analysis, None), "absolute.top1").dataset == "night"
    assert not judge(elsewhere, analysis, None).passed
    assert not judge(rules, empty, None).passed


def test_rules_against_a_champion_fail_without_one_unless_the_gate_says_otherwise(gate):
    """A forgotten champion is not the first model of its name."""
    rules = "relative: {%stop1: {worse_by_at_most: 0.1}, size: {ratio_at_most: 2}}"
    analysis = result(answered(900, 1_000))

    strict = judge(gate(rules % ""), analysis, None)
    assert [v.passed for v in strict.verdicts if v.rule.startswith("relative")] == [False, False]
    assert judge(gate(rules % "if_no_champion: pass, "), analysis, None).passed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it has no rules"),
        ("absolute: {}\nrelative: {if_no_champion: pass}", "it has no rules"),
        ("absolute: {topp1: {at_least: 0.5}}", "absolute.topp1: Extra inputs"),
        ("absolute: {top1: {at_least: 85}}", "absolute.top1.at_least: .* less than or equal to 1"),
        ("absolute: {top1: {at_least: .nan}}", "absolute.top1.at_least"),
        ("absolute: {top1: {at_least: 0.5, datasets: []}}", "absolute.top1.datasets"),
        ("absolute: {p99: [{batch_size: 8}]}", "absolute.p99.0.at_most_s: Field required"),
        ("absolute: {top1: {at_least: 0.9}, top1: {at_least: 0.1}}", "top1 stands twice"),
        ("absolute: [", "is not YAML"),
        ("- 1", "valid dictionary"),
    ],
)
def test_a_gate_that_does_not_say_what_it_asks_is_refused(gate, text, said):
    """In one line that names the file and the rule."""
    with pytest.raises(GateError, match=said) as refusal:
        gate(text)
    assert "gate.yaml: " in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_gate_that_is_not_there_is_refused(tmp_path):
    """By its path."""
    with pytest.raises(GateError, match="no such gate"):
        read_gate(tmp_path / "gate.yaml")


def test_verdicts_survive_being_written_and_read(gate):
    """Also those without a bound."""
    rules = gate("absolute: {p99: [{batch_size: 8, at_most_s: 1}], top1: {at_least: 0.5}}")
    analysis = result(answered(9, 10), speeds={"new": speed(timed(1e-3, 10))})
    found = judge(rules, analysis, None)

    assert GateResult.model_validate_json(found.model_dump_json()) == found
    assert judge(rules, Result.model_validate_json(analysis.model_dump_json()), None) == found


def test_the_schema_in_the_docs_is_that_of_the_code():
    """Written by ``python -m analyzer.gate_file > docs/gate.schema.json``."""
    assert (ROOT / "docs" / "gate.schema.json").read_text(encoding="utf-8") == schema_text()
