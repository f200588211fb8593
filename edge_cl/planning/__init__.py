"""What a learner will need on a machine that is not here: bytes, times, and what would fit."""

from __future__ import annotations

from edge_cl.planning.plan import Plan, Planner, plan

__all__ = ["Plan", "Planner", "plan"]
