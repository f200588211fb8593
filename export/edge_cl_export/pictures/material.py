"""The pictures of an export: some to calibrate on, others to judge on, never the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_cl_export.pictures.calibration import Pictures

__all__ = ["Material"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Two sets of pictures that have nothing in common.

    Attributes
    ----------
    apart : by what they were parted: a group is never on both sides; nor is a picture. "seed"
        for pictures that were distilled, by two seeds.
    origin : where they come from, for people.
    """

    calibration: Pictures
    validation: Pictures
    apart: Literal["group", "picture", "seed"]
    origin: str

    @classmethod
    def of(cls, pictures: Pictures, origin: str, *, seed: int, augmented: int = 0) -> Material:
        """Part `pictures`; calibrate on so many changed copies of each, too.

        Raises
        ------
        InputError : too few pictures.
        """
        parted = pictures.split(seed)
        return cls(
            calibration=parted.calibration.augmented(augmented, seed),
            validation=parted.validation,
            apart=parted.by,
            origin=origin,
        )
