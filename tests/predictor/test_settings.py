"""One table of settings, four ways in."""

from __future__ import annotations

import pytest

from predictor.errors import StartupError
from predictor.settings import Settings, read_settings


def test_flags_beat_environment_beats_file_beats_default(tmp_path, monkeypatch):
    """Each source where the ones above it are silent."""
    file = tmp_path / "millrace.yaml"
    file.write_text("http_port: 1\ngrpc_port: 2\nfrontends: 3\n", encoding="utf-8")
    monkeypatch.setenv("MILLRACE_HTTP_PORT", "11")
    monkeypatch.setenv("MILLRACE_GRPC_PORT", "12")

    settings = read_settings(config=file, http_port="21", instances=None)

    assert (
        settings.http_port,
        settings.grpc_port,
        settings.frontends,
        settings.instances,
    ) == (21, 12, 3, 0)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"http_port": "70000"}, "http_port.*70000"),
        ({"frontends": "many"}, "frontends.*many"),
        ({"http_prot": "1"}, "http_prot"),
        ({"config": "nowhere.yaml"}, "nowhere.yaml"),
        ({"config": __file__}, "not readable"),
        ({"devices": " , "}, "at least one device"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(flags, words):
    """The setting and what it was given."""
    with pytest.raises(StartupError, match=words) as caught:
        read_settings(**flags)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "flags", [{"repository_token": "hunter2\x00"}, {"repository_tokn": "hunter2"}]
)
def test_a_token_is_not_told_when_something_is_wrong_with_it(flags):
    """Nor under a mistyped name: the line goes into a log."""
    with pytest.raises(StartupError) as caught:
        read_settings(**flags)

    assert "hunter2" not in str(caught.value)


def test_a_token_out_of_a_secret_may_end_in_a_newline():
    """As ``echo`` leaves it."""
    assert read_settings(repository_token="hunter2\n").repository_token == "hunter2"


def test_every_setting_says_what_it_means():
    """The description feeds --help, `millrace settings` and docs/settings.md."""
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
