"""The demo's digits: rendered the same every time, learnt quickly, exported faithfully."""

import numpy as np
import onnxruntime as ort
import pytest
import torch
from PIL import Image

from examples import digits


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """The first 400 scans."""
    return digits.render(tmp_path_factory.mktemp("digits"), count=400)


def test_rendering_twice_gives_the_same_files(rendered, tmp_path):
    """Bytes and split repeat, so a demo on another day classifies the same images."""
    again = digits.render(tmp_path, count=400)
    for first, second in zip(rendered.train + rendered.test, again.train + again.test, strict=True):
        assert first.file.read_bytes() == second.file.read_bytes()
        assert first.file.parts[-3:] == second.file.parts[-3:]
        assert first.label == second.label


def test_a_digit_is_a_jpeg_of_the_networks_size_in_the_folder_of_its_label(rendered):
    """Any tool that reads LABEL/NNNN.jpg can use the digits."""
    scan = rendered.test[0]
    with Image.open(scan.file) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (32, 32))
    assert scan.file.parent.name == scan.label


def test_a_quarter_of_every_digit_is_held_out(rendered):
    """The split is stratified, and no image is in both parts."""
    train = {scan.file.name for scan in rendered.train}
    test = {scan.file.name for scan in rendered.test}
    assert (len(train), len(test)) == (300, 100)
    assert not train & test
    for label in digits.LABELS:
        held_out = sum(scan.label == label for scan in rendered.test)
        everything = held_out + sum(scan.label == label for scan in rendered.train)
        assert held_out == pytest.approx(everything / 4, abs=1)


def test_a_few_passes_over_few_digits_already_teach_the_network(rendered):
    """Learning is quick enough for a demo, and each pass is reported."""
    epochs = []
    network = digits.train(rendered.train, 12, epochs.append)
    assert [epoch.number for epoch in epochs] == list(range(1, 13))
    assert epochs[-1].loss < epochs[0].loss / 2
    assert digits.accuracy(network, rendered.test) > 0.85


def test_the_exported_network_answers_like_the_trained_one_at_any_batch_size(tmp_path):
    """ONNX has the input and output packaging is told about, and the same logits."""
    torch.manual_seed(0)
    network = digits.DigitNet().eval()
    digits.export(network, tmp_path / "digits.onnx")
    session = ort.InferenceSession(tmp_path / "digits.onnx")
    for batch in (1, 5):
        images = torch.rand(batch, 3, 32, 32) * 2 - 1
        (logits,) = session.run(["logits"], {"input": images.numpy()})
        np.testing.assert_allclose(logits, network(images).detach().numpy(), atol=1e-4)
