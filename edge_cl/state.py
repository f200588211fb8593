"""Opening a state: what the user wishes, what the folder holds, and whether both agree."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_cl.bundle import Bundle
from edge_cl.encoders import Encoder, compiled_for, load_encoder, open_encoder, route_of
from edge_cl.encoders.cores import cores_named
from edge_cl.errors import InputError, StateError, StorageError
from edge_cl.features import Identity, MapSpec, map_named
from edge_cl.forgetting import Everything, Forgetting, forgetting_named
from edge_cl.heads import HeadOptions
from edge_cl.journal import Journal
from edge_cl.pipeline import Pipeline
from edge_cl.presets import Preset, preset_named
from edge_cl.replay import take_up
from edge_cl.resume import (
    begun_knowledge,
    chosen_heads,
    find_bundle,
    refuse_foreign,
    saved_encoder,
    saved_knowledge,
)
from edge_cl.store import Durability, Recovery, Store, durability_named
from edge_cl.thumbnails import Thumbnails
from edge_cl.tuning import kept_choice

__all__ = ["Wishes", "open_state"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """The options of `edge_cl.Learner.open`."""

    bundle: str | os.PathLike[str] | Bundle | None
    head: str | HeadOptions | None
    compare: Sequence[str | HeadOptions] | None
    feature_map: str | MapSpec | None
    preset: str | Preset | None
    forgetting: str | Forgetting | None
    durability: str | Durability
    archive: bool
    thumbnails: bool
    runtime: str | None
    precision: str | None
    threads: int | None
    accelerator: str | None = None
    accelerator_options: Mapping[str, str] | None = None
    cores: str | Iterable[int] | None = None
    strict: bool = False
    require_signature: str | os.PathLike[str] | None
    read_only: bool


Opened = tuple[Pipeline, Journal, Recovery, Thumbnails | None]


def open_state(folder: Path | None, wishes: Wishes) -> Opened:
    """Open the state in a folder, or a new one; see `edge_cl.Learner.open`."""
    if wishes.preset is not None and not (wishes.head is None and wishes.feature_map is None):
        raise InputError("expected a preset, or a head and a feature map, got both")
    durability = wishes.durability
    if isinstance(durability, str):
        durability = durability_named(durability)
    # A folder that is not there is made last, when nothing can be refused any more.
    store = Store(folder, read_only=wishes.read_only) if folder and folder.exists() else None
    encoder = None
    try:
        proven = store.load() if store else None
        if wishes.read_only and folder is not None and proven is None:
            raise StateError(f"{folder} holds no state", hint="learn something first")
        header = proven.saved.header if proven else None
        opened, signature = find_bundle(wishes.bundle, store, wishes.require_signature)
        encoder = _encoder(opened, wishes, header.encoder_sha256 if header else None)
        head, spec = _method(wishes, opened)
        forgetting = wishes.forgetting
        if isinstance(forgetting, str):
            forgetting = forgetting_named(forgetting)
        if header:
            refuse_foreign(header, opened, encoder, spec, forgetting)
            spec = header.map
        pipeline = Pipeline(opened, encoder, spec or Identity())
        if wishes.thumbnails and opened.manifest.input.kind != "image":
            raise InputError("expected a bundle whose inputs are pictures, to keep thumbnails")
        if proven:
            known = saved_knowledge(proven.saved, pipeline)
            heads, auto = chosen_heads(head, wishes.compare, known)
            if heads != known.options:
                known.with_heads(heads, auto=auto)  # refuses what cannot be, before it is mended
        else:
            heads, auto = chosen_heads(head, wishes.compare, None)
            known = begun_knowledge(pipeline, heads, forgetting or Everything(), auto=auto)
        if store is None and folder is not None and not wishes.read_only:
            store = Store(folder)
            if store.load() is not None:
                raise StorageError(f"another process made {folder} just now", hint="open it again")
        if store and not proven and wishes.bundle is not None and not wishes.read_only:
            store.save_bundle(opened.archive(), signature)
        journal = Journal(
            known,
            pipeline.origin,
            durability=durability,
            store=store,
            ring_rows=proven.ring_rows if proven else 0,
            archive=wishes.archive,
        )
        recovery = take_up(journal, proven) if proven else Recovery()
        # What was replayed was learned under the heads of then; those that are wished follow
        heads, auto = chosen_heads(head, wishes.compare, journal.knowledge if proven else None)
        if (heads, auto) != (journal.knowledge.options, journal.knowledge.auto):
            journal.knowledge = journal.knowledge.with_heads(heads, auto=auto)
            journal.stale = True
    except BaseException:
        if encoder is not None:
            encoder.close()
        if store:
            store.close()
        raise
    small = None
    if store and not wishes.read_only:
        folder = store.folder / "thumbnails"
        if wishes.thumbnails or folder.is_dir():  # what was kept before goes with its lesson
            small = Thumbnails(folder, journal.lessons.size, new=wishes.thumbnails)
    return pipeline, journal, recovery, small


def _encoder(bundle: Bundle, wishes: Wishes, learned_with: str | None) -> Encoder:
    """Load what is wished, else the encoder that was learned with, else what was tuned."""
    runtime, precision, accelerator = wishes.runtime, wishes.precision, wishes.accelerator
    said = (runtime, precision, accelerator, wishes.threads, wishes.cores)
    if all(wish is None for wish in said) and not wishes.accelerator_options:
        tuned = _tuned(bundle, wishes, learned_with)
        if tuned is not None:
            return tuned
    if learned_with is not None and runtime is None and precision is None:
        runtime, precision = saved_encoder(bundle, learned_with)
    if learned_with is not None and accelerator is None:  # compiled for one, it runs on no other
        accelerator = compiled_for(bundle, learned_with)
    return open_encoder(
        bundle,
        runtime=runtime,
        precision=precision,
        threads=wishes.threads,
        accelerator=accelerator,
        accelerator_options=wishes.accelerator_options,
        cores=cores_named(wishes.cores) if isinstance(wishes.cores, str) else wishes.cores,
        strict=wishes.strict,
    )


def _tuned(bundle: Bundle, wishes: Wishes, learned_with: str | None) -> Encoder | None:
    """Load what `edge-cl tune` chose on this machine; None: it did not."""
    kept = kept_choice(bundle)
    if kept is None:
        return None
    sha256 = {name: member.sha256 for name, member in bundle.manifest.members.items()}
    setting = kept.chosen
    if learned_with is not None:  # another encoder would mean other features
        own = [s for name, s in kept.by_member.items() if sha256[name] == learned_with]
        if not own:
            return None
        setting = own[0]
    spec = next(spec for spec in bundle.manifest.encoders if spec.member == setting.member)
    route = route_of(spec, setting.accelerator, dict(setting.options), strict=wishes.strict)
    encoder = load_encoder(bundle, spec, setting.threads, route, setting.cores)
    encoder.placement = replace(encoder.placement, tuned=kept.date)
    return encoder


def _method(wishes: Wishes, bundle: Bundle) -> tuple[str | HeadOptions | None, MapSpec | None]:
    """Return the head and the map that are wished; None: not said."""
    head, spec, preset = wishes.head, wishes.feature_map, wishes.preset
    if isinstance(preset, str):
        preset = preset_named(preset)
    if preset is not None:
        return preset.head_for(bundle.manifest.embedding), preset.map
    return head, map_named(spec) if isinstance(spec, str) else spec
