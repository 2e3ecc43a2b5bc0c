"""The report's page, driven in Chromium."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser

from analyzer.predictions import Predictions
from analyzer.report import Pictures, write_report
from analyzer.result import Finding
from tests.analyzer.report_browser import Shown, needs_chromium, opened, running_browser
from tests.analyzer.synthetic import (
    GARMENTS,
    draw_predictions,
    picture,
    result_of,
    two_models,
)

pytestmark = needs_chromium
MANY = 10_000
OPEN_S = 2.0
TRIES = 5  # the machine may be busy; what the page can do is its best


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for this module."""
    with running_browser() as started:
        yield started


@pytest.fixture(scope="module")
def said() -> list[Predictions]:
    """What two models said of 10,000 images."""
    return two_models(MANY)


@pytest.fixture(scope="module")
def report(said: list[Predictions], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their report, with all parts and an earlier run."""
    folder = tmp_path_factory.mktemp("report")
    earlier = result_of(two_models(300), created="2026-11-20T08:00:00Z")
    pictures = {"garments": Pictures(lambda name: picture(name, (64, 48)))}
    return write_report(result_of(said), said, folder, pictures=pictures, history=[earlier])


@pytest.fixture
def shown(browser: Browser, report: Path) -> Iterator[Shown]:
    """The page, freshly opened, and closed without a complaint."""
    page = opened(browser, report)
    yield page
    assert page.wrong == []
    page.page.close()


def test_it_opens_from_disk_and_asks_for_nothing_else(shown, report):
    """One file, no network, nothing beside it."""
    shown.page.get_by_text("Sure and wrong").click()
    shown.rows().first.click()

    assert shown.asked == [report.as_uri()]


def test_with_10_000_images_it_opens_in_two_seconds_and_stays_under_15_mb(browser, report):
    """By the page's own clock, from the request to all sections drawn."""
    assert report.stat().st_size < 15_000_000

    for _ in range(TRIES):
        page = opened(browser, report).page
        ready = page.evaluate("performance.getEntriesByName('ready')[0].startTime / 1000")
        page.close()
        if ready < OPEN_S:
            break
    assert ready < OPEN_S


def test_only_rows_in_sight_exist(shown):
    """However many images there are; scrolling brings others."""
    assert shown.count() == "10,000 images"
    assert 10 <= shown.rows().count() < 60

    shown.page.locator("#images .grid-body").evaluate("body => body.scrollTop = 1e9")

    shown.page.get_by_text(re.compile(r"/09999\.png")).wait_for()
    assert shown.rows().count() < 60


def test_searching_looks_at_names_and_classes(shown):
    """Whatever the case."""
    shown.page.get_by_label("Search names and classes").fill("/00042.PNG")
    assert shown.count() == "1 of 10,000 images"

    shown.page.get_by_label("Search names and classes").fill("no such thing")
    assert shown.count() == "0 of 10,000 images"
    assert shown.page.get_by_text("No image is like that.").is_visible()


def condition(shown: Shown, place: int, column: str, op: str, value: str) -> None:
    """Fill in one of the conditions that are there."""
    one = shown.page.locator(".condition").nth(place)
    one.get_by_label("Column").select_option(label=column)
    one.get_by_label("Comparison").select_option(label=op)
    field = one.get_by_label("Value")
    if field.evaluate("field => field.tagName") == "SELECT":
        field.select_option(label=value)
    else:
        field.fill(value)


def test_conditions_are_joined_by_and_and_by_or(shown, said):
    """All of a group's must hold, of one group or another."""
    baseline, resnet = said
    coat, shirt = GARMENTS.index("Coat"), GARMENTS.index("Shirt")
    is_coat, is_shirt = baseline.truth == coat, baseline.truth == shirt
    wrong = baseline.judged & (baseline.indices[:, 0] != baseline.truth)
    sure = resnet.scores[:, 0] >= 0.9

    shown.page.get_by_label("Add a condition").click()
    condition(shown, 0, "truth", "is", "coat")
    assert shown.count() == f"{is_coat.sum():,} of 10,000 images"

    shown.page.get_by_label("Add a condition that must hold as well").click()
    condition(shown, 1, "baseline: right", "is", "no")
    assert shown.count() == f"{(is_coat & wrong).sum():,} of 10,000 images"

    shown.page.get_by_label("Add a group, of which one must hold").click()
    condition(shown, 2, "truth", "is", "Shirt")
    shown.page.get_by_label("Add a condition that must hold as well").nth(1).click()
    condition(shown, 3, "resnet: score", "≥", "0.9")
    expected = (is_coat & wrong) | (is_shirt & sure)
    assert shown.count() == f"{expected.sum():,} of 10,000 images"

    shown.page.get_by_label("Remove this condition").first.click()
    assert shown.count() == f"{(wrong | (is_shirt & sure)).sum():,} of 10,000 images"


def test_a_click_on_a_heading_sorts_and_shift_sorts_within(shown, said):
    """A second click turns the order; unknown scores stay at the end."""
    scores = said[0].scores[:, 0]
    heading = shown.page.locator('#images [data-key="score:baseline"]')

    heading.click()
    assert shown.column(5)[0] == f"{np.nanmax(scores):.3f}"

    heading.click()
    assert shown.column(5)[0] == f"{np.nanmin(scores):.3f}"

    shown.page.locator('#images [data-key="truth"]').click()
    heading.click(modifiers=["Shift"])
    first = GARMENTS.index(min(GARMENTS))
    assert shown.column(3)[:2] == [GARMENTS[first]] * 2
    assert shown.column(5)[0] == f"{np.nanmax(scores[said[0].truth == first]):.3f}"


def test_the_pop_up_shows_what_each_model_said(shown, said):
    """Truth and the best five with their scores."""
    row = 1234
    shown.page.get_by_label("Search names and classes").fill("/01234.png")
    shown.rows().first.click()

    popup = shown.page.locator("#popup")
    assert popup.locator("h2").inner_text() == said[0].names[row]
    assert popup.locator(".popup-picture b").inner_text() == GARMENTS[said[0].truth[row]]
    for place, model in enumerate(said):
        lines = popup.locator(".top").nth(place).locator("li").all_inner_texts()
        expected = [
            f"{GARMENTS[index]}\n{score:.3f}"
            for index, score in zip(model.indices[row], model.scores[row], strict=True)
        ]
        assert [re.sub(r"\n+", "\n", line) for line in lines] == expected
    assert popup.locator("img").evaluate("image => image.naturalWidth") == 64


def test_everything_can_be_done_with_the_keyboard(shown, said):
    """Arrows choose a row, Enter opens it, arrows go on from there, Escape closes."""
    body = shown.page.locator("#images .grid-body")
    body.focus()
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        shown.page.keyboard.press(key)
    title = shown.page.locator("#popup-title")
    assert title.inner_text() == said[0].names[1]

    shown.page.keyboard.press("ArrowRight")
    assert title.inner_text() == said[0].names[2]

    shown.page.keyboard.press("Escape")
    assert not shown.page.locator("#popup").is_visible()
    assert shown.page.locator("#images .chosen").inner_text().startswith(said[0].names[2])


def test_a_cell_of_the_confusion_matrix_leads_to_its_images(shown, said):
    """The largest mistake, by the list beside it."""
    pair = result_of(said, whole=False).evaluations[1].accuracy.confused[0]

    shown.page.locator("#confusion").get_by_role("button", name="images").first.click()

    assert shown.count() == f"{pair.images:,} of 10,000 images"


def test_the_matrix_is_zoomed_by_keys(shown):
    """Towards its middle, and back."""
    canvas = shown.page.locator("canvas")
    before = canvas.evaluate("canvas => canvas.toDataURL()")
    canvas.focus()
    shown.page.keyboard.press("+")
    assert canvas.evaluate("canvas => canvas.toDataURL()") != before

    shown.page.keyboard.press("0")
    assert canvas.evaluate("canvas => canvas.toDataURL()") == before


def test_sure_and_wrong_shows_the_surest_mistake_first(shown, said):
    """Of the model that is chosen at the top, which is the better one at first."""
    resnet = said[1]
    mistakes = resnet.judged & (resnet.indices[:, 0] != resnet.truth)

    shown.page.get_by_role("button", name="Sure and wrong").click()

    assert shown.column(2)[0] == resnet.names[np.argmax(np.where(mistakes, resnet.scores[:, 0], 0))]


def test_a_finding_without_images_and_equal_models_read_well(browser, tmp_path):
    """No stray figure, and nobody is right most often alone."""
    asked = two_models(60)[:1]
    asked.append(dataclasses.replace(asked[0], model="twin"))
    result = result_of(asked)
    odd = Finding(kind="empty", severity="info", text="no image of 1 of 3 classes", count=1)
    dataset = result.datasets[0].model_copy(update={"findings": (odd,)})
    result = result.model_copy(update={"datasets": (dataset,), "agreements": ()})
    page = opened(browser, write_report(result, asked, tmp_path))

    found = page.page.locator("#summary .findings li").first.inner_text().split("\n")
    assert [line for line in found if line.strip()][-1] == "no image of 1 of 3 classes"
    assert "baseline and 1 other are right most often" in (
        page.page.locator("#summary .headline").inner_text()
    )
    assert "twin is right just as often" in page.page.locator("#summary .sub").inner_text()
    rate = page.page.locator("#accuracy .rate-line b").first
    assert rate.evaluate("node => getComputedStyle(node).whiteSpace") == "nowrap"
    assert page.wrong == []
    page.page.close()


def test_images_that_are_not_judged_stand_beside_the_headline(browser, tmp_path):
    """Those of classes that the model does not have; in the table as well."""
    asked = [dataclasses.replace(two_models(60)[0], unknown_class=7)]
    page = opened(browser, write_report(result_of(asked), asked, tmp_path))

    assert "7 labelled images of classes that baseline does not have are not judged." in (
        page.page.locator("#summary .sub").inner_text().replace("\u00a0", " ")
    )
    assert page.page.get_by_role("columnheader", name="Unknown class").first.is_visible()
    assert page.wrong == []
    page.page.close()


def test_the_slider_says_how_many_answers_a_threshold_takes(shown, said):
    """Of all answers, for each model; those that are right, of the ones with a truth."""
    resnet = said[1]
    taken = resnet.scores[resnet.answered, 0] >= 0.5
    right = resnet.ranks[resnet.judged & (resnet.scores[:, 0] >= 0.5)] == 0

    shown.page.get_by_label("Least score that is taken").fill("50")

    words = shown.page.locator("#thresholds .stack-line").nth(1).inner_text()
    expected = f"{100 * taken.mean():.1f} % taken, {100 * right.mean():.1f} % of them right"
    assert f"from 0.50: {expected}" in words


def test_points_of_a_chart_say_what_they_are(shown):
    """The nearest one to the pointer."""
    told = ""
    for _ in range(TRIES):  # what is above may still be growing, and move it away
        shown.page.locator("#speed .dot").first.hover(force=True)
        if told := shown.page.locator("#tip").inner_text():
            break

    assert re.match(r"baseline, fp32\.onnx on cpu:0, batch of 1: [\d.]+ images/s", told)


def test_who_is_right_leads_to_those_images(shown, said):
    """The square of images that only the second model got."""
    baseline, resnet = said
    wrong = baseline.judged & (baseline.indices[:, 0] != baseline.truth)
    right = resnet.judged & (resnet.indices[:, 0] == resnet.truth)

    shown.page.get_by_role("button", name="only resnet").click()

    assert shown.count() == f"{(wrong & right).sum():,} of 10,000 images"


def test_every_section_has_something(shown):
    """A result with all parts; the gate's verdict and what serving needs can be read."""
    sections = shown.page.eval_on_selector_all(
        "main > section", "all => all.map(one => [one.id, one.innerText.length > 60])"
    )

    assert [name for name, _ in sections] == [
        *("summary", "accuracy", "confusion", "classes", "calibration", "curves"),
        *("thresholds", "hierarchy", "robustness", "speed", "agreement"),
        *("images", "history", "about"),
    ]
    assert all(filled for _, filled in sections)
    text = shown.page.locator("main").inner_text()
    assert "feed one of these with 7.4 cores" in text
    assert "class_floor >= 0.5" in text
    assert "12 images are there twice" in text


def test_dataset_and_model_are_chosen_for_all_sections(browser, tmp_path):
    """The table of images and the matrix follow."""
    asked = [
        draw_predictions(model, dataset, GARMENTS, images, skill=skill, seed=seed)
        for model, skill, seed in (("one", 0.3, 1), ("two", 0.6, 2))
        for dataset, images in (("shop", 60), ("street", 45))
    ]
    page = opened(browser, write_report(result_of(asked), asked, tmp_path))
    assert page.count() == "60 images"

    page.page.get_by_label("Dataset", exact=True).select_option("street")
    page.page.get_by_label("Model", exact=True).select_option("one")

    assert page.count() == "45 images"
    assert "what one said" in (page.page.locator("canvas").get_attribute("aria-label") or "")
    mistakes = (asked[1].judged & (asked[1].indices[:, 0] != asked[1].truth)).sum()
    page.page.get_by_role("button", name="Mistakes of one").click()
    assert page.count() == f"{mistakes} of 45 images"
    assert page.wrong == []


def test_parts_that_are_none_are_absent(browser, tmp_path):
    """Accuracy alone, one model, no pictures."""
    alone = two_models(50)[:1]

    page = opened(browser, write_report(result_of(alone, whole=False), alone, tmp_path))

    ids = page.page.eval_on_selector_all("main > section", "all => all.map(one => one.id)")
    assert {"speed", "robustness", "agreement", "hierarchy"} & set(ids) == set()
    assert page.wrong == []


def test_without_a_truth_nothing_is_said_of_accuracy(browser, tmp_path):
    """Images, speed and agreement remain."""
    blind = [
        draw_predictions(name, "street", GARMENTS, 40, skill=0.5, without_truth=40)
        for name in ("a", "b")
    ]

    page = opened(browser, write_report(result_of(blind), blind, tmp_path))

    ids = page.page.eval_on_selector_all("main > section", "all => all.map(one => one.id)")
    assert "accuracy" not in ids
    assert "% taken" in page.page.locator("#thresholds").inner_text()
    assert "images" in ids
    assert "none has a known class" in page.page.locator("#summary").inner_text()
    assert page.wrong == []


def test_a_thousand_classes_fit(browser, tmp_path):
    """The matrix finds a pair, the table of classes has few rows in the page."""
    labels = [f"class {number}" for number in range(1000)]
    many = two_models(2000, labels)

    page = opened(browser, write_report(result_of(many), many, tmp_path))
    page.page.get_by_label("Find in the matrix").first.click()
    page.page.get_by_label("Find a class").fill("class 77")

    assert page.page.locator("#classes [role=row]").count() < 40
    assert page.wrong == []


HOSTILE = (
    "</script><script>document.title='broken in'</script>",
    "<img src=x onerror=\"document.title='broken in'\">",
    "../../../etc/passwd",
    "'\"&<!--\u2028",
    "caf\udce9.png",
    "=cmd|' /C calc'!A0",
)


def test_hostile_names_are_text(browser, tmp_path):
    """Of images, classes, models and datasets."""
    labels = [f"{HOSTILE[0]}{number}" for number in range(3)]
    asked = [
        draw_predictions(model, HOSTILE[1], labels, len(HOSTILE), skill=0.5, names=HOSTILE)
        for model in (HOSTILE[0], HOSTILE[1])
    ]
    beside = {HOSTILE[1]: Pictures(lambda _: None, tmp_path)}

    page = opened(browser, write_report(result_of(asked), asked, tmp_path, pictures=beside))

    assert page.column(2) == list(HOSTILE)
    page.rows().first.click()
    titles = []
    for _ in HOSTILE:
        titles.append(page.page.locator("#popup-title").inner_text())
        page.page.keyboard.press("ArrowRight")
    assert titles == list(HOSTILE)
    assert page.page.title().endswith("| Millrace analysis")
    assert not [url for url in page.asked if "passwd" in url]


def test_a_file_beside_the_page_is_shown_in_full(browser, tmp_path):
    """The thumbnail is no larger than it must be; the file is asked for when it is opened."""
    names = ["a b/#1.png"]
    photo = io.BytesIO()
    Image.effect_noise((900, 600), 60).save(photo, "PNG")
    (tmp_path / "data" / "a b").mkdir(parents=True)
    (tmp_path / "data" / names[0]).write_bytes(photo.getvalue())
    pictures = Pictures(lambda name: (tmp_path / "data" / name).read_bytes(), tmp_path / "data")
    asked = [draw_predictions("m", "noise", GARMENTS, 1, skill=0.5, names=names)]
    file = write_report(
        result_of(asked, whole=False), asked, tmp_path / "out", pictures={"noise": pictures}
    )

    page = opened(browser, file)
    page.rows().first.click()
    page.page.wait_for_function("document.querySelector('#popup img').naturalWidth === 900")

    assert page.asked[1:] == [(tmp_path / "data" / "a b" / "#1.png").as_uri()] * (
        len(page.asked) - 1
    )
    assert page.wrong == []


def test_runs_are_compared_and_others_added(shown, tmp_path):
    """From a result.json on disk; what is none is refused in a line."""
    other = result_of(two_models(200), created="2026-11-22T08:00:00Z")
    (tmp_path / "other.json").write_text(other.model_dump_json(), encoding="utf-8")
    (tmp_path / "broken.json").write_text(json.dumps({"schema_version": 99}), encoding="utf-8")
    table = shown.page.locator("#history table")
    assert table.locator("thead th").count() == 4  # model, dataset, the earlier run and this one

    adding = shown.page.locator("#history input[type=file]")
    adding.set_input_files([tmp_path / "other.json", tmp_path / "broken.json"])

    shown.page.get_by_text("broken.json cannot be compared").wait_for()
    assert table.locator("thead th").all_inner_texts()[2:] == [
        *("2026-11-20 08:00:00 UTC", "other.json", "this run")
    ]
    top = f"{100 * other.evaluations[0].accuracy.top[0].hits.rate:.1f} %"
    assert table.locator("tbody tr").first.locator("td").nth(2).inner_text().startswith(top)

    shown.page.locator("#history .runs input").first.uncheck()
    assert table.locator("thead th").count() == 4


def test_rows_shown_are_saved_as_csv(shown, said):
    """Those that the conditions let through."""
    shown.page.get_by_label("Search names and classes").fill("/00042.png")

    with shown.page.expect_download() as saving:
        shown.page.get_by_role("button", name="Save these as CSV").click()

    lines = Path(saving.value.path()).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    assert lines[1].startswith(f'"{said[0].names[42]}","{GARMENTS[said[0].truth[42]]}"')


def test_the_theme_is_chosen_and_paper_is_light(shown):
    """Dark, then print: all rows that fit, no controls."""
    ground = "getComputedStyle(document.body).backgroundColor"
    light = shown.page.evaluate(ground)
    for _ in range(2):
        shown.page.get_by_role("button", name="Theme").click()
    assert shown.page.evaluate(ground) != light

    assert len(shown.page.pdf(format="A4")) > 10_000
    shown.page.emulate_media(media="print")
    assert shown.page.evaluate(ground) == "rgb(255, 255, 255)"
    assert not shown.page.locator(".side").is_visible()
