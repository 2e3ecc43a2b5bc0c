"""A report's page in a real browser, which says what it asked for and what went wrong."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (Debian: chromium)")


@contextmanager
def running_browser() -> Iterator[Browser]:
    """The installed Chromium; it must be gone before other tests run, since it holds a loop."""
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@dataclass
class Shown:
    """An open page.

    Attributes:
        page: the browser's.
        asked: addresses of everything it loaded, those it carries inside left out.
        wrong: what it complained of.
    """

    page: Page
    asked: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def rows(self) -> Locator:
        """The rows of the table of images that exist."""
        return self.page.locator("#images .grid-space .grid-row")

    def count(self) -> str:
        """What the table says of how many it shows."""
        return self.page.locator("#images [role=status]").inner_text()

    def column(self, place: int) -> list[str]:
        """The texts of a column of those rows, from the top."""
        cells = self.page.locator(f"#images .grid-space .grid-row > :nth-child({place})")
        return cells.all_inner_texts()


def opened(browser: Browser, file: Path) -> Shown:
    """The page in ``file``, from disk, once it has drawn itself."""
    shown = Shown(browser.new_page(viewport={"width": 1366, "height": 768}))
    page = shown.page
    page.on("request", lambda r: None if r.url.startswith("data:") else shown.asked.append(r.url))
    page.on("console", lambda said: shown.wrong.append(said.text))
    page.on("pageerror", lambda error: shown.wrong.append(str(error)))
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-ready]", state="attached")
    return shown
