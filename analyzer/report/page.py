"""The report's page: one HTML file with all it needs inside, which opens without a network."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.errors import ReportError
from analyzer.predictions import Predictions
from analyzer.report.contents import brief, for_page, sections
from analyzer.report.embedding import as_json, packed
from analyzer.report.rows import Table, tables
from analyzer.report.selection import fitting
from analyzer.report.thumbnails import Pictures, Progress, in_base64, thumbnails
from analyzer.result import Result

if TYPE_CHECKING:
    from markupsafe import Markup

FILE = "report.html"
STATIC = Path(__file__).parent / "static"
TEMPLATE = "page.html.j2"
# They share one scope and are run in this order.
SCRIPTS = (
    "dom",
    "data",
    "charts",
    "grid",
    "summary",
    "accuracy",
    "confusion",
    "classes",
    "curves",
    "robustness",
    "speed",
    "agreement",
    "conditions",
    "images",
    "popup",
    "history",
    "main",
)
STYLES = ("page", "parts", "print")
MOST_BYTES = 15_000_000
SPARE_BYTES = 200_000  # what is not reckoned exactly: commas, rounding, the template
FOR_ROWS = 0.5  # of the page at most, names and answers; the pictures get what is left


def write_report(
    result: Result,
    predictions: Sequence[Predictions],
    folder: Path,
    *,
    pictures: Mapping[str, Pictures] | None = None,
    history: Sequence[Result] = (),
    most_bytes: int = MOST_BYTES,
    progress: Progress | None = None,
) -> Path:
    """Write the page into ``folder`` and say where it is.

    It holds the images of all predictions with their best five classes, and thumbnails of a few by
    chance, of all mistakes, of what models differ on and of the rest, as far as ``most_bytes``
    goes. Only where names and answers alone would take more than half of it are images left out,
    in the reverse order; the page then says so.

    Args:
        result: what was found.
        predictions: what it was found from; names of models and datasets as in ``result``.
        folder: made if need be; an older report there is replaced, whole.
        pictures: how to get at images, by dataset; without them the page shows names alone.
        history: earlier results, oldest first, to compare with.
        most_bytes: size of the page.
        progress: is told of thumbnails as they are made.

    Raises:
        ReportError: Jinja2 is not here, or the page cannot be written.
    """
    head = as_json(
        {"result": for_page(result), "history": [brief(each) for each in (*history, result)]}
    )
    static = _static()
    left = most_bytes - len(head) - SPARE_BYTES - sum(len(text) for text in static.values())
    kept = fitting(tables(predictions), min(int(most_bytes * FOR_ROWS), left))
    rows = as_json([_rows(table) for table in kept])
    lengths = sum(len(packed(np.zeros(len(table.names), np.uint32))) for table in kept)
    made = thumbnails(kept, pictures or {}, left - len(rows) - lengths, progress)
    shown = as_json(
        [
            _shown(table, own, (pictures or {}).get(table.dataset), folder)
            for table, own in zip(kept, made, strict=True)
        ]
    )
    page = _template().render(
        title=" · ".join(model.name for model in result.models) or "nothing",
        sections=sections(result, bool(kept), bool(history)),
        data=_safe(f'{{"head":{head},"rows":{rows},"pictures":{shown}}}'),
        thumbnails=_safe("".join(in_base64(own[row]) for own in made for row in sorted(own))),
        style=_safe(static["css"]),
        script=_safe(static["js"]),
        style_digest=_digest(static["css"]),
        script_digest=_digest(static["js"]),
    )
    return _written(page, folder)


def _written(page: str, folder: Path) -> Path:
    file, fresh = folder / FILE, folder / f".{FILE}.new"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fresh.write_text(page, encoding="utf-8")
        fresh.replace(file)
    except OSError as error:
        raise ReportError(f"cannot write {file}: {error.strerror or error}") from error
    return file


def _template() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise ReportError("reports need Jinja2: pip install 'millrace[analyzer]'") from error
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(STATIC),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    ).get_template(TEMPLATE)


def _safe(text: str) -> Markup:
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 (our own files, base64, and JSON that escapes "<")


def _static() -> dict[str, str]:
    """Our styles and scripts, as the page has them."""
    styles = [(STATIC / f"{name}.css").read_text(encoding="utf-8") for name in STYLES]
    scripts = [(STATIC / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    joined = "".join(scripts)
    return {"css": "".join(styles), "js": f'"use strict";\n(() => {{\n{joined}}})();\n'}


def _digest(text: str) -> str:
    """As a content security policy names an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _rows(table: Table) -> dict[str, Any]:
    return {
        "dataset": table.dataset,
        "of": table.of,
        "names": table.names,
        "answers": [each.for_page() for each in table.answers],
    }


def _shown(
    table: Table, made: dict[int, bytes], pictures: Pictures | None, folder: Path
) -> dict[str, Any]:
    """Where a table's thumbnails are among all: their lengths by row; and where its files lie."""
    lengths = np.zeros(len(table.names), dtype=np.uint32)
    for row, small in made.items():
        lengths[row] = -(-len(small) // 3) * 4
    return {"link": _link(pictures, folder), "lengths": packed(lengths)}


def _link(pictures: Pictures | None, folder: Path) -> str | None:
    if pictures is None or pictures.folder is None:
        return None
    try:
        return Path(os.path.relpath(pictures.folder.resolve(), folder.resolve())).as_posix()
    except ValueError:  # on another drive
        return None
