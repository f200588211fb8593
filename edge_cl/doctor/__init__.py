"""Examining a state folder, and the board it lives on, without touching either."""

from __future__ import annotations

from edge_cl.doctor.finding import Finding, Verdict
from edge_cl.doctor.state.examination import Examination, examine

__all__ = ["Examination", "Finding", "Verdict", "examine"]
