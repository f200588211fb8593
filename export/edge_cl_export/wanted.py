"""What the user asked an export for, apart from the network and the pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from edge_cl.errors import InputError, MissingExtraError
from edge_cl_export.graph.preparation import Pool, check_pool
from edge_cl_export.proof.fidelity import Gate
from edge_cl_export.recipe import Recipe, formats_for, parse_recipe

__all__ = ["Wanted"]

if TYPE_CHECKING:
    from edge_cl_export.target.board import Target

PICTURES = (".png", ".svg", ".pdf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The embedding, the files, what they must reach, and what is drawn at random.

    Attributes
    ----------
    formats : of `recipe.FORMATS`.
    optional : whether a format that cannot be made here is left out, and named in the result.
    recipe : "tuned" or "plain" where int8 begins and is improved from, see `remedies`; or the
        name of one recipe, made as it is.
    layer, pool, l2, project : of the embedding, see `embedding.Embedding`.
    accepted : why a missed gate is accepted; stands in the manifest. Empty: it is not.
    augmented : so many changed copies of every calibration picture.
    parity : pictures in the bundle, with features, for a device to compare its own with.
    frontier : where to draw size against sensitivity; None: nowhere.
    target : the board that the formats were chosen for, whose oldest runtime must load them.
    """

    formats: tuple[str, ...]
    optional: bool = False
    recipe: str = "tuned"
    layer: str | None = None
    pool: Pool = "mean"
    l2: bool = False
    project: int | None = None
    gate: Gate = field(default_factory=Gate)
    accepted: str = ""
    augmented: int = 0
    parity: int = 4
    frontier: Path | None = None
    target: Target | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        formats_for(list(self.formats))
        check_pool(self.pool)
        if self.project is not None and self.project < 2:
            raise InputError(f"expected a projection to 2 features or more, got {self.project}")
        if not 1 <= self.parity <= 64:
            raise InputError(f"expected 1 to 64 parity pictures, got {self.parity}")
        if not 0 <= self.augmented <= 16:
            raise InputError(f"expected 0 to 16 changed copies of a picture, got {self.augmented}")
        if self.accepted != self.accepted.strip() or len(self.accepted) > 200:
            raise InputError("expected a reason of at most 200 characters for a missed gate")
        if self.frontier is not None:
            _check_picture(self.frontier)
        exact = self.exact
        if exact is not None and self.formats != (exact.format,):
            raise InputError(
                f"the recipe {exact.name} makes {exact.format}, not {', '.join(self.formats)}",
                hint=f"--format {exact.format}",
            )

    @property
    def exact(self) -> Recipe | None:
        """The one recipe that was asked for by name."""
        return None if self.recipe in ("tuned", "plain") else parse_recipe(self.recipe)


def _check_picture(path: Path) -> None:
    if path.suffix not in PICTURES or not path.parent.is_dir():
        raise InputError(
            f"expected a picture NAME{' or '.join(PICTURES)} in an existing folder, got {path}"
        )
    if find_spec("matplotlib") is None:
        raise MissingExtraError("drawing the frontier", "plot")
