"""What all tests of the analyzer need."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def environment():
    """As it was before: choosing a device sets what runtimes are to see."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
