"""The gate as a pipeline is given it: the text of a ``gate.yaml``, or nothing."""

from __future__ import annotations

from pathlib import Path

from analyzer.gate_file import Gate, read_gate

GATE_FILE = "gate.yaml"  # as verdicts call it
# Where nothing else is said: the data are sound, and it is hardly worse than what is served.
DEFAULT_GATE = """\
absolute:
  data_findings: {severity: error}
relative:
  if_no_champion: pass
  top1: {worse_by_at_most: 0.02}
"""


def gate_of(text: str, folder: Path) -> Gate:
    """The gate that a text is; written to ``folder``, whence it is read.

    Raises:
        GateError: it is none.
    """
    file = folder / GATE_FILE
    file.write_text(text or DEFAULT_GATE, encoding="utf-8")
    return read_gate(file)
