"""What is read out of answers."""

from __future__ import annotations

import json

import pytest

from loadgen.answers import Judge, Top, UnreadableAnswerError, read
from loadgen.form import Form
from loadgen.images import Image, Right
from loadgen.inference import message

TWO_BY_TWO = [
    {"name": "indices", "datatype": "INT64", "shape": [2, 2], "data": [3, 5, 7, 1]},
    {"name": "labels", "datatype": "BYTES", "shape": [2, 2], "data": ["cat", "dog", "owl", "ant"]},
]
CATS = tuple(
    Image(name, b"x", Right(frozenset({3}), frozenset({"tabby"}))) for name in ("one", "two")
)


def v2(*outputs: dict) -> bytes:
    """A v2 answer."""
    return json.dumps({"outputs": outputs}).encode()


def test_the_best_class_of_each_image_is_read():
    """The first of each row, by index, by label, or both."""
    both = read("v2", v2(*TWO_BY_TWO))
    index_only = read("v2-json", v2(TWO_BY_TWO[0]))

    assert both == [Top(3, "cat"), Top(7, "owl")]
    assert index_only == [Top(3, None), Top(7, None)]


def test_v1_predictions_are_read():
    """Label and index stand in each."""
    body = json.dumps({"predictions": [{"label": "cat", "index": 3, "top": []}]}).encode()

    assert read("v1", body) == [Top(3, "cat")]


@pytest.mark.parametrize("raw", [True, False])
def test_grpc_answers_are_read_raw_and_typed(raw):
    """A server chooses."""
    answer = message("ModelInferResponse")()
    indices = answer.outputs.add(name="indices", datatype="INT64", shape=[2, 1])
    labels = answer.outputs.add(name="labels", datatype="BYTES", shape=[2, 1])
    if raw:
        answer.raw_output_contents.append((3).to_bytes(8, "little") + (7).to_bytes(8, "little"))
        answer.raw_output_contents.append(b"\x03\0\0\0cat\x03\0\0\0owl")
    else:
        indices.contents.int64_contents.extend([3, 7])
        labels.contents.bytes_contents.extend([b"cat", b"owl"])

    assert read("grpc", answer.SerializeToString()) == [Top(3, "cat"), Top(7, "owl")]


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"no JSON", b'{"outputs": [{"name": "x"}]}'])
@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_an_answer_that_is_none_is_told_from_a_wrong_one(protocol, body):
    """It counts as a failed request."""
    with pytest.raises(UnreadableAnswerError):
        read(protocol, body)


def test_grpc_garbage_is_no_answer():
    """Neither is a message that is cut."""
    with pytest.raises(UnreadableAnswerError):
        read("grpc", b"\xff\xff\xff")


def test_an_answer_is_right_by_index_or_by_label():
    """Either is enough, as tables may have one of the two."""
    right = CATS[0].right

    assert [top.is_in(right) for top in (Top(3, None), Top(9, "tabby"), Top(9, "cat"))] == [
        True,
        True,
        False,
    ]


def test_a_judge_counts_right_answers_and_names_wrong_ones():
    """Image by image."""
    verdict = Judge(CATS, Form("v2", "m")).judge((0, 1), v2(*TWO_BY_TWO))

    assert (verdict.failure, verdict.right, verdict.judged) == (None, 1, 2)
    assert verdict.wrong == (("two", "owl"),)


def test_missing_answers_are_a_failure():
    """Two images were asked about, one is spoken of."""
    verdict = Judge(CATS, Form("v2", "m")).judge(
        (0, 1), v2({"name": "indices", "shape": [1, 1], "data": [3]})
    )

    assert verdict.failure == "answers missing"


def test_without_labels_no_answer_is_read():
    """Reading costs the client what it should spend on sending."""
    verdict = Judge([Image("a", b"x")], Form("v2", "m")).judge((0,), b"not even JSON")

    assert (verdict.failure, verdict.judged) == (None, 0)


def test_v1_errors_in_an_images_place_fail_even_without_labels():
    """The status is 200 all the same."""
    judge = Judge([Image("a", b"x")], Form("v1", "m"))

    assert judge.judge((0,), b'{"predictions": [{"error": "no image"}]}').failure is not None
    assert judge.judge((0,), b'{"predictions": [{"label": "error"}]}').failure is None
