"""A network ready to be exported: what it is called, what it takes, and its workshop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
from torch import nn

from edge_cl_export.graph.embedding import Embedding, embed
from edge_cl_export.graph.preparation import Preparation
from edge_cl_export.graph.projection import Projection, fit
from edge_cl_export.pictures.calibration import Pictures
from edge_cl_export.pictures.material import Material
from edge_cl_export.ready.onnx_network import ReadyOnnx
from edge_cl_export.ready.tflite_network import ReadyTflite
from edge_cl_export.sources import Backbone, check_preprocessing
from edge_cl_export.wanted import Wanted
from edge_cl_export.workshop import BATCH, ReadyWorkshop, TracedWorkshop

__all__ = ["Network", "of_backbone", "of_ready"]

PREPROCESSING_PICTURES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What `pipeline.export` exports.

    Attributes
    ----------
    about : what was found out on the way, for the report: plain data by topic.
    notes : the same for people, a sentence each.
    """

    name: str
    description: str
    licence: str
    source: str
    preparation: Preparation
    workshop: TracedWorkshop | ReadyWorkshop
    about: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def of_backbone(
    backbone: Backbone,
    module: nn.Module,
    chosen: Pictures,
    wanted: Wanted,
    about: Mapping[str, object],
    notes: tuple[str, ...] = (),
) -> Network:
    """Return `backbone` with `module`, its own or an adapted one, as the network.

    Parameters
    ----------
    chosen : pictures to calibrate on; a projection is fitted on them.

    Raises
    ------
    InputError : no such layer, or more dimensions to project to than there are.
    ExportError : the network cannot be traced.
    """
    preparation = backbone.preparation
    found, said = dict(about), list(notes)
    if backbone.pooling:
        said.append(backbone.pooling)
    few = chosen.pick(range(min(len(chosen), PREPROCESSING_PICTURES)))
    checked = check_preprocessing(backbone, (few.read(i) for i in range(len(few))))
    if checked is not None:
        found["preprocessing"] = asdict(checked)
        said.append(
            f"on {checked.pictures} pictures, the input differs from the library's own "
            f"preprocessing by {max(checked.mean_square, checked.mean_oblong):.2f} grey levels "
            "in the mean of the worst channel"
        )

    def embedding(projection: Projection | None = None) -> Embedding:
        return Embedding(
            module, preparation, layer=wanted.layer, pool=wanted.pool, l2=wanted.l2 and final,
            projection=projection,
        ).eval()  # fmt: skip

    final = wanted.project is None
    network = embedding()
    if wanted.project is not None:
        features = [embed(network, batch) for batch in chosen.batches(preparation.spec, BATCH)]
        projection = fit(np.concatenate(features), wanted.project)
        share = float(projection.explained.sum())
        found["projection"] = {"d": wanted.project, "explained": round(share, 6)}
        said.append(
            f"{wanted.project} principal axes of {features[0].shape[1]} features are kept, "
            f"{share:.1%} of their variance on the calibration pictures"
        )
        final = True
        network = embedding(projection)
    return Network(
        name=backbone.name,
        description=backbone.description,
        licence=backbone.licence,
        source=backbone.source,
        preparation=preparation,
        workshop=TracedWorkshop(network, preparation, chosen),
        about=found,
        notes=tuple(said),
    )


def of_ready(ready: ReadyOnnx | ReadyTflite, source: str, material: Material) -> Network:
    """Return a network that came as a file; `source` is its name."""
    return Network(
        name=ready.name,
        description=f"{ready.d} features of {source}",
        licence="unknown",
        source=f"{source} (sha256 {ready.sha256})",
        preparation=ready.preparation,
        workshop=ReadyWorkshop(ready, material.calibration),
        about={"assumed": list(ready.assumed)},
        notes=ready.assumed,
    )
