"""What the report's page carries, how large it gets, and the charts beside it; no browser."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analyzer.errors import ReportError
from analyzer.predictions import Predictions
from analyzer.report import Pictures, write_charts, write_report
from analyzer.report.embedding import as_json
from tests.analyzer.synthetic import GARMENTS, draw_predictions, picture, result_of, two_models


def carried(page: Path) -> dict:
    """The data in a page."""
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


def lengths(page: Path, place: int = 0) -> np.ndarray:
    """How long each row's thumbnail is, 0 where it has none."""
    packed = carried(page)["pictures"][place]["lengths"]
    return np.frombuffer(base64.b64decode(packed), "<u4")


def photo(name: str) -> bytes:
    """An encoded image that does not compress well, its own for each name."""
    seed = int(re.findall(r"\d+", name)[-1])
    pixels = np.random.default_rng(seed).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG")
    return encoded.getvalue()


def wrong(asked: Predictions) -> np.ndarray:
    """(n,): whether the best class is a mistake."""
    return asked.judged & (asked.indices[:, 0] != asked.truth)


def test_data_between_script_tags_ends_nowhere():
    """Whatever a name says, the text has no tag, and reads as the same value."""
    value = {"</script><!--": ["\u2028", "caf\udce9", 'a"\\', 0.1234567891, float("nan"), 2**53]}

    text = as_json(value)

    assert "<" not in text
    assert text.isascii()
    assert json.loads(text) == {
        "</script><!--": ["\u2028", "caf\udce9", 'a"\\', 0.123457, None, 2**53]
    }


def test_thumbnails_go_to_mistakes_first_and_to_a_few_by_chance(tmp_path):
    """As far as the page's size goes; most of the rest shows as text."""
    asked = two_models(3000)[1:]
    pictures = {"garments": Pictures(photo)}

    page = write_report(result_of(asked), asked, tmp_path, pictures=pictures, most_bytes=3_000_000)

    has = lengths(page) > 0
    assert 2_000_000 < page.stat().st_size < 3_000_000
    assert has[wrong(asked[0])].all()
    others = has[~wrong(asked[0])]
    assert 0.03 < others.mean() < 0.6


def test_many_images_with_thumbnails_leave_room_for_where_those_are(tmp_path):
    """The list of their lengths is a part of the page as well."""
    asked = two_models(45_000)[1:]
    small = photo("1")
    pictures = {"garments": Pictures(lambda _: small)}

    page = write_report(
        result_of(asked, whole=False), asked, tmp_path, pictures=pictures, most_bytes=5_000_000
    )

    assert page.stat().st_size < 5_000_000


def test_where_rows_do_not_fit_mistakes_stay_and_the_page_says_so(tmp_path):
    """A data set of half a million images would not open; the CSV files have all."""
    asked = two_models(20_000)[1:]

    page = write_report(result_of(asked, whole=False), asked, tmp_path, most_bytes=1_000_000)

    rows = carried(page)["rows"][0]
    missed = {name for name, one in zip(asked[0].names, wrong(asked[0]), strict=True) if one}
    assert page.stat().st_size < 1_000_000
    assert rows["of"] == 20_000
    assert len(rows["names"]) < 20_000
    assert missed <= set(rows["names"])


def test_a_small_dataset_gets_larger_thumbnails(tmp_path):
    """As large as the image at most."""
    asked = [draw_predictions("m", "few", GARMENTS, 4, skill=0.5)]
    pictures = {"few": Pictures(lambda name: picture(name, (500, 250)))}

    page = write_report(result_of(asked), asked, tmp_path, pictures=pictures)

    text = page.read_text(encoding="utf-8")
    found = re.search(r'id="thumbnails">([^<]*)<', text)
    first = base64.b64decode(found[1][: lengths(page)[0]])
    assert Image.open(io.BytesIO(first)).size == (320, 160)


def test_images_that_cannot_be_read_have_no_picture(tmp_path):
    """Broken, gone, or larger than the server would take; the others have theirs."""
    asked = [draw_predictions("m", "odd", GARMENTS, 4, skill=0.5)]
    huge = io.BytesIO()
    Image.new("1", (9000, 9000)).save(huge, "PNG")
    answers = dict(zip(asked[0].names, (b"no image", None, huge.getvalue()), strict=False))

    def read(name: str) -> bytes | None:
        if name == asked[0].names[1]:
            raise FileNotFoundError(name)
        return answers.get(name, picture(name))

    page = write_report(result_of(asked), asked, tmp_path, pictures={"odd": Pictures(read)})

    assert (lengths(page) > 0).tolist() == [False, False, False, True]


def test_models_that_were_asked_different_images_share_a_table(tmp_path):
    """Every image of either, in the order in which they come; whoever was not asked says so."""
    one = draw_predictions("a", "d", GARMENTS, 2, skill=0.5, names=["x", "y"])
    two = draw_predictions("b", "d", GARMENTS, 2, skill=0.5, names=["y", "z"])

    page = write_report(result_of([one, two], whole=False), [one, two], tmp_path)

    (rows,) = carried(page)["rows"]
    assert rows["names"] == ["x", "y", "z"]
    assert [each["errors"] for each in rows["answers"]] == [
        {"2": "this model was not asked"},
        {"0": "this model was not asked"},
    ]
    truth = np.frombuffer(base64.b64decode(rows["answers"][1]["truth"]), "<i2")
    assert truth.tolist() == [-1, *two.truth.tolist()]


def test_answers_come_back_as_they_were(tmp_path):
    """Classes exactly, scores to the fifth digit."""
    asked = two_models(30)

    (rows,) = carried(write_report(result_of(asked), asked, tmp_path))["rows"]

    for each, packed in zip(asked, rows["answers"], strict=True):
        indices = np.frombuffer(base64.b64decode(packed["indices"]), "<i2").reshape(30, -1)
        scores = np.frombuffer(base64.b64decode(packed["scores"]), "<u2").reshape(30, -1) / 65535
        assert indices.tolist() == each.indices.tolist()
        assert np.abs(scores - np.nan_to_num(each.scores)).max() < 1e-5


def test_the_page_forbids_itself_everything_but_its_own_script(tmp_path):
    """By digest; a changed script would not run, and nothing can be fetched."""
    asked = two_models(20)

    text = write_report(result_of(asked), asked, tmp_path).read_text(encoding="utf-8")

    assert re.search(r"content=\"default-src 'none'; script-src 'sha256-[\w+/=]+'; style", text)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)


def test_an_older_report_is_replaced_whole(tmp_path):
    """Nothing is left of the way there."""
    asked = two_models(20)
    (tmp_path / "report.html").write_text("older", encoding="utf-8")

    page = write_report(result_of(asked), asked, tmp_path)

    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    """It names the file."""
    asked = two_models(20)
    (tmp_path / "taken").write_text("", encoding="utf-8")

    with pytest.raises(ReportError, match=r"cannot write .*taken"):
        write_report(result_of(asked), asked, tmp_path / "taken")
    with pytest.raises(ReportError, match="cannot write charts"):
        write_charts(result_of(asked), tmp_path / "taken")


@pytest.mark.parametrize("module", ["jinja2", "matplotlib.figure"])
def test_a_missing_extra_is_named(module, tmp_path, monkeypatch):
    """Both the page and the charts say what to install."""
    monkeypatch.setitem(sys.modules, module, None)
    asked = two_models(20)

    result = result_of(asked)
    write = {
        "jinja2": lambda: write_report(result, asked, tmp_path),
        "matplotlib.figure": lambda: write_charts(result, tmp_path),
    }[module]

    with pytest.raises(ReportError, match=re.escape("pip install 'millrace[analyzer]'")):
        write()


def test_charts_of_every_part_are_written(tmp_path):
    """PNG files whose names say what they show."""
    written = write_charts(result_of(two_models(200)), tmp_path / "charts")

    assert {file.name for file in written} == {
        *(f"{kind}-garments.png" for kind in ("accuracy", "calibration", "roc")),
        *(f"{kind}-garments.png" for kind in ("precision-recall", "thresholds", "robustness")),
        *(f"confusion-{model}-garments.png" for model in ("baseline", "resnet")),
        *(f"speed-{model}.png" for model in ("baseline", "resnet")),
    }
    for file in written:
        with Image.open(file) as chart:
            assert chart.format == "PNG"
            assert chart.getextrema()[0] != (255, 255)  # not an empty sheet


def test_hostile_names_make_harmless_files(tmp_path):
    """Two that would be alike get a number; nothing is set as a formula."""
    asked = [
        draw_predictions(name, "../$x^$/..", ["_a", "$\\frac{", "caf\udce9"], 30, skill=0.5)
        for name in ("a/b", "a:b")
    ]

    written = write_charts(result_of(asked), tmp_path / "charts")

    assert {file.parent for file in written} == {tmp_path / "charts"}
    assert {"confusion-a_b-x.png", "confusion-a_b-x-2.png"} <= {file.name for file in written}
