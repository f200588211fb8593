"""Choosing by measuring: which encoder, on what, with how many threads, on which cores.

`settings` lists what can be tried here, `race` says how settings are compared and which one wins,
`measure` runs the race on a bundle, and `kept` remembers what came of it for this machine.
"""

from __future__ import annotations

from edge_cl.tuning.kept import KeptChoice, choice_path, forget_choice, keep_choice, kept_choice
from edge_cl.tuning.measure import Trial, Tuned, tune
from edge_cl.tuning.settings import Setting, settings_for

__all__ = [
    "KeptChoice",
    "Setting",
    "Trial",
    "Tuned",
    "choice_path",
    "forget_choice",
    "keep_choice",
    "kept_choice",
    "settings_for",
    "tune",
]
