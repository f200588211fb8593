"""Opening what was saved: which bundle, which encoder of it, and is it the right one."""

from __future__ import annotations

import os
from collections.abc import Sequence

from edge_cl.assets import shipped_bundle
from edge_cl.bundle import Bundle, open_bundle
from edge_cl.encoders import Encoder
from edge_cl.errors import InputError, StateError
from edge_cl.features import MapSpec, feature_map
from edge_cl.forgetting import Forgetting
from edge_cl.heads import HeadOptions, RidgeOptions, head_options
from edge_cl.knowledge import Knowledge
from edge_cl.labels import Labels
from edge_cl.moments import Moments
from edge_cl.pipeline import Pipeline
from edge_cl.specs import described
from edge_cl.statistics import STATISTICS
from edge_cl.store import TENSORS, Saved, StateHeader, Store

AUTO = ("ridge", "lda", "ncm")  # what `head="auto"` chooses from; the first one begins


def find_bundle(
    given: str | os.PathLike[str] | Bundle | None,
    store: Store | None,
    require_signature: str | os.PathLike[str] | None = None,
) -> tuple[Bundle, bytes | None]:
    """Return the bundle to use, and the signature that came with it, if one is required.

    The one that was given; else the one kept with the state; else the one that ships. With
    `require_signature`, a public key, only a file that its owner has signed is opened.

    Raises
    ------
    BundleError : it is damaged, or not signed as required.
    InputError : an open bundle was given where a signature is required: it has none.
    """
    path = given if given is not None else (store.bundle if store else None)
    if require_signature is None:
        return path if isinstance(path, Bundle) else open_bundle(path or shipped_bundle()), None
    if isinstance(path, Bundle):
        raise InputError("expected the path of a bundle, for a signature is required")
    from edge_cl.signing import read_public_key, read_signature, verify_signature

    key = read_public_key(require_signature)
    opened = open_bundle(path or shipped_bundle())
    signature = read_signature(path or shipped_bundle())
    verify_signature(opened, signature, key)
    return opened, signature


def saved_encoder(bundle: Bundle, sha256: str) -> tuple[str | None, str | None]:
    """Return runtime and precision of the encoder with this digest, that was learned with."""
    for spec in bundle.manifest.encoders:
        if bundle.manifest.members[spec.member].sha256 == sha256:
            return spec.runtime, spec.precision
    return None, None


def refuse_foreign(
    header: StateHeader,
    bundle: Bundle,
    encoder: Encoder,
    map_spec: MapSpec | None,
    forgetting: Forgetting | None,
) -> None:
    """Raise StateError unless the state's features are those that this encoder makes.

    And unless map and forgetting, where they are told, are those it was learned with.
    """
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
    if forgetting is not None and forgetting != header.forgetting:
        raise StateError(
            f"the state was learned with the forgetting {described(header.forgetting)}, "
            f"not {described(forgetting)}",
            hint="what has left cannot come back; learn anew in another folder",
        )
    try:
        expected = feature_map(header.map, bundle.manifest.embedding)
    except InputError as error:
        raise StateError(f"the state's feature map cannot be made: {error}") from error
    if (header.d, header.scale) != (expected.d, expected.scale):
        raise StateError("the state's features are on another grid than the bundle's")


def chosen_heads(
    head: str | HeadOptions | None,
    compare: Sequence[str | HeadOptions] | None,
    known: Knowledge | None,
) -> tuple[tuple[HeadOptions, ...], bool]:
    """Return the heads to open with, the serving one first, and whether the best may serve.

    What is not said is as in what is known already, else ridge alone.
    """
    if isinstance(compare, str):
        raise InputError("expected a sequence of heads to compare, got one string")
    before = known.options if known else (RidgeOptions(),)
    kept = before if len(before) > 1 else ()  # who compared goes on comparing
    beside = kept if compare is None else tuple(head_options(name) for name in compare)
    if head == "auto":
        first = before[0] if known else head_options(AUTO[0])
        others = [head_options(name) for name in AUTO]
        there = {type(options) for options in (first, *beside)}
        beside += tuple(options for options in others if type(options) not in there)
    else:
        first = before[0] if head is None else head_options(head)
    auto = head == "auto" or (head is None and known is not None and known.auto)
    return tuple(dict.fromkeys((first, *beside))), auto


def saved_moments(saved: Saved) -> Moments:
    """Return the moments of a snapshot, checked."""
    t, header = saved.tensors, saved.header
    try:
        Labels(header.labels)
    except InputError as error:
        raise StateError(f"the state's labels are not labels: {error}") from error
    if t["n"].shape != (len(header.labels),):
        raise StateError("the state has another number of labels than of classes")
    if not set(header.statistics) <= STATISTICS.keys():
        raise StateError(f"the state keeps sums that are not known here: {header.statistics}")
    besides = {name for kept in header.statistics for name in STATISTICS[kept][1]}
    if {name for name in t if "." not in name} != TENSORS | besides:
        raise StateError(f"the state holds the tensors {sorted(t)}, which are not its own")
    return Moments.from_tensors(
        t["n"],
        t["Q"],
        t["G"],
        d=header.d,
        saturated=header.saturated,
        **{name: t[name] for name in besides},
    )


def begun_knowledge(
    pipeline: Pipeline, heads: Sequence[HeadOptions], forgetting: Forgetting, *, auto: bool
) -> Knowledge:
    """Return knowledge of nothing yet, over the features of a pipeline."""
    return Knowledge(
        heads,
        d=pipeline.d,
        scale=pipeline.scale,
        mean_square_norm=pipeline.mean_square_norm,
        forgetting=forgetting,
        auto=auto,
    )


def saved_knowledge(saved: Saved, pipeline: Pipeline) -> Knowledge:
    """Return what a snapshot holds, checked.

    Raises
    ------
    StateError : its parts do not fit each other.
    """
    header = saved.header
    heads = (header.head, *header.compared)
    known = begun_knowledge(pipeline, heads, header.forgetting, auto=header.auto)
    kept = {name: a for name, a in saved.tensors.items() if name != "marks"}
    try:
        known.restore(saved_moments(saved), Labels(header.labels), kept, heads)
    except InputError as error:
        raise StateError(f"the state does not fit its heads: {error}") from error
    return known
