"""Opening what was saved: which bundle, which encoder of it, and is it the right one."""

from __future__ import annotations

import os

import msgspec

from edge_cl.assets import shipped_bundle
from edge_cl.bundle import Bundle, open_bundle
from edge_cl.encoders import Encoder
from edge_cl.errors import InputError, StateError
from edge_cl.features import MapSpec, feature_map
from edge_cl.heads import HeadOptions
from edge_cl.labels import Labels
from edge_cl.moments import Moments
from edge_cl.store import Saved, StateHeader, Store


def find_bundle(
    given: str | os.PathLike[str] | Bundle | None, store: Store | None
) -> tuple[Bundle, bool]:
    """Return the bundle to use, and whether a new state should keep a copy of it.

    The one that was given; else the one kept with the state; else the one that ships.
    """
    if isinstance(given, Bundle):
        return given, True
    if given is not None:
        return open_bundle(given), True
    kept = store.load_bundle() if store else None
    return kept or open_bundle(shipped_bundle()), False


def saved_encoder(bundle: Bundle, header: StateHeader) -> tuple[str | None, str | None]:
    """Return runtime and precision of the encoder that a state was learned with."""
    for spec in bundle.manifest.encoders:
        if bundle.manifest.members[spec.member].sha256 == header.encoder_sha256:
            return spec.runtime, spec.precision
    return None, None


def refuse_foreign(
    header: StateHeader, bundle: Bundle, encoder: Encoder, map_spec: MapSpec | None
) -> None:
    """Raise StateError unless the state's features are those that this encoder makes."""
    if header.encoder_sha256 != encoder.sha256:
        raise StateError(
            f"the state was learned with encoder {header.encoder_sha256[:12]} of "
            f"{header.bundle_name}, this is {encoder.sha256[:12]} of {bundle.name}",
            hint="open it with its own bundle, or learn anew in another folder",
        )
    if map_spec is not None and map_spec != header.map:
        raise StateError(
            f"the state was learned behind the map {described(header.map)}, "
            f"not {described(map_spec)}",
            hint="moments cannot change their map; learn anew in another folder",
        )
    try:
        expected = feature_map(header.map, bundle.manifest.embedding)
    except InputError as error:
        raise StateError(f"the state's feature map cannot be made: {error}") from error
    if (header.d, header.scale) != (expected.d, expected.scale):
        raise StateError("the state's features are on another grid than the bundle's")


def saved_moments(saved: Saved) -> Moments:
    """Return the moments of a snapshot, checked."""
    t, header = saved.tensors, saved.header
    try:
        Labels(header.labels)
    except InputError as error:
        raise StateError(f"the state's labels are not labels: {error}") from error
    if t["n"].shape != (len(header.labels),):
        raise StateError("the state has another number of labels than of classes")
    return Moments.from_tensors(t["n"], t["Q"], t["G"], d=header.d, saturated=header.saturated)


def described(spec: MapSpec | HeadOptions) -> str:
    """Return a spec as people read it: `ridge(ridge=100.0)`."""
    values = msgspec.structs.asdict(spec).items()
    given = ", ".join(f"{name}={value}" for name, value in values if value is not None)
    tag = str(spec.__struct_config__.tag)
    return f"{tag}({given})" if given else tag
