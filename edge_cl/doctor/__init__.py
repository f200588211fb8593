"""Examining a state folder, and the board it lives on, without touching either.

`examine` looks at a state, `examine_board` at what it runs on. Each is imported when it is asked
for: looking at a board must work where the libraries that a state needs end the process.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["BoardExamination", "Examination", "Finding", "Verdict", "examine", "examine_board"]

_HOME = {
    "BoardExamination": "edge_cl.doctor.board.examination",
    "Examination": "edge_cl.doctor.state.examination",
    "Finding": "edge_cl.doctor.finding",
    "Verdict": "edge_cl.doctor.finding",
    "examine": "edge_cl.doctor.state.examination",
    "examine_board": "edge_cl.doctor.board.examination",
}

if TYPE_CHECKING:
    from edge_cl.doctor.board.examination import BoardExamination, examine_board
    from edge_cl.doctor.finding import Finding, Verdict
    from edge_cl.doctor.state.examination import Examination, examine


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'edge_cl.doctor' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
