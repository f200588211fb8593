"""What became of one format: the file, the recipe, and everything that was found out about it."""

from __future__ import annotations

from dataclasses import dataclass

from edge_cl.arrays import F32
from edge_cl.bundle import EncoderSpec
from edge_cl_export.proof.fidelity import Fidelity
from edge_cl_export.proof.stages import Stage
from edge_cl_export.recipe import Recipe
from edge_cl_export.remedy.climb import Rung

__all__ = ["EncoderFile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderFile:
    """One encoder file, how it was made, and how faithful it is.

    Attributes
    ----------
    misses : of the gate, where they were accepted by name.
    rungs : the remedies that were tried, the recipe it began with first; none for float files.
    stages : where along the network its error arises.
    operators : how many of each kind run where, here: provider -> kind -> number.
    integer_layers : how many weighted layers compute in integers.
    float_layers : of an int8 file, those that do not, by their names in it.
    deployed : (m, d) features of the parity pictures, as this file gives them here.
    """

    spec: EncoderSpec
    recipe: Recipe
    data: bytes
    fidelity: Fidelity
    misses: tuple[str, ...]
    rungs: tuple[Rung, ...]
    stages: tuple[Stage, ...]
    operators: dict[str, dict[str, int]]
    integer_layers: int
    float_layers: tuple[str, ...]
    deployed: F32
