"""Examining a state folder without touching it."""

from __future__ import annotations

from edge_cl.doctor.examination import Examination, examine
from edge_cl.doctor.finding import Finding, Verdict

__all__ = ["Examination", "Finding", "Verdict", "examine"]
