"""What packaging is told by a pipeline's parameter is what its command is told by a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace.package import command
from millrace.package_config import keys
from model_store.errors import SourceError
from model_store.package import Resize
from pipelines.package_settings import KEYS, package_request


def request(**settings):
    """Of a network."""
    return package_request(Path("n.onnx"), "n", Path("l.txt"), Path("images"), settings)


def test_the_keys_are_those_of_the_configuration_file():
    """But for what the pipeline says itself."""
    elsewhere = {"source", "name", "labels", "parity_images", "store", "registry", "cache"}
    assert {str(each.name) for each in keys(command)} - elsewhere == KEYS


def test_values_are_understood_as_in_the_file():
    """Sides, fractions, one number for three, policies."""
    made = request(
        **{
            "input-size": "192x256",
            "crop": 224.0,
            "scale": "1/255",
            "mean": 127.5,
            "std": "1,2,3",
            "resize": "shortest-side:256",
            "interpolation": "bicubic",
            "variants": "fp32,int8",
            "calibration_images": "typical",
        }
    )
    assert (made.input_size, made.crop) == ((192, 256), (224, 224))
    assert made.scale == pytest.approx(1 / 255)
    assert (made.mean, made.std) == ((127.5,) * 3, (1.0, 2.0, 3.0))
    wanted = Resize(policy="shortest-side", size=256)
    assert made.resize == wanted.model_copy(update={"interpolation": "bicubic"})
    assert made.variants == ("fp32", "int8")
    assert made.calibration_images == Path("typical")


def test_whole_numbers_that_kfp_has_made_floats_are_whole_again():
    """All of its numbers are floats on their way."""
    made = request(**{"input-size": 32.0, "top-k": 3.0, "factory-args": {"classes": [10.0, 0.5]}})
    assert made.input_size == (32, 32)
    assert (made.top_k, type(made.top_k)) == (3, int)
    assert made.factory_args == {"classes": [10, 0.5]}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sclae": 1}, "unknown key 'sclae'; known: "),
        ({"scale": "x"}, "scale: 'x' does not fit"),
        ({"input-size": "0"}, "input-size: '0' does not fit"),
        ({"channels": "RBG"}, "channels: "),
        ({"variants": ["fp31"]}, "variants.0: "),
        ({"resize": "round"}, "resize: 'round' does not fit"),
    ],
)
def test_what_does_not_fit_is_named(settings, said):
    """The key, and in one line."""
    with pytest.raises(SourceError, match=r"^packaging: ") as refused:
        request(**settings)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
