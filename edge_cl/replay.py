"""Opening a state: from what its folder proves to the knowledge that was taught.

Rows behind the snapshot are applied in order. Where neither head nor tally depends on how
samples came, neighbouring calls are learned as one, which is the same sums in a tenth of the
time; otherwise call by call, so that a head that depends on order ends with the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from edge_cl.errors import EdgeCLError, StateError
from edge_cl.journal import Journal, Sample
from edge_cl.store import Proven, Recovery
from edge_cl.store.rows import pack

__all__ = ["take_up"]


def take_up(journal: Journal, proven: Proven) -> Recovery:
    """Let a journal over the snapshot of `proven` go on where its folder ends.

    Raises
    ------
    StateError : the rows do not fit the snapshot.
    StorageError : what is damaged could not be mended.
    """
    header = proven.saved.header
    journal.nonce, journal.records = header.nonce, header.records
    journal.seq, journal.floor = header.seq, header.floor
    journal.archive = journal.archive or header.archive
    journal.lessons.restore_marks(proven.saved.tensors["marks"])
    journal.lessons.load([row for row, _ in proven.earlier])
    for call in _calls(proven.replay, together=journal.knowledge.order_free):
        _replay(journal, call)
    if proven.seq > journal.seq:
        records = journal.records
        journal.records = msgspec.structs.replace(
            records,
            gone=(*records.gone, (journal.seq + 1, proven.seq)),
            lost=records.lost + (proven.lost or 0),
        )
        journal.seq = proven.seq
    if proven.damaged_ring:
        journal.floor = journal.seq
    journal.knowledge.changes = 0
    store = journal.store
    if store is None or store.read_only:
        return Recovery(
            replayed=len(proven.replay),
            problems=proven.problems,
            lost=proven.lost,
            unfinished=proven.unfinished,
        )
    recovery = store.settle(proven, journal.saved, journal.durability)
    store.finish_rollback(journal.records.gone)
    if journal.archive and not store.ring.archives:
        store.ring.begin_archive()
        store.ring.archive([pack(*sample) for sample in (*proven.earlier, *proven.replay)])
        journal.stale = True
    return recovery


def _replay(journal: Journal, call: list[Sample]) -> None:
    rows, known = [row for row, _ in call], journal.knowledge
    q = np.stack([q for _, q in call])
    labels = [row.label for row in rows]
    try:
        if rows[0].kind == "learned":
            before = known.options[0]
            if known.learn(q, labels, rows[0].seq):
                journal.promoted(before)
        else:
            known.taking_back(q, labels, [row.target for row in rows])()
    except EdgeCLError as error:
        raise StateError(
            f"change {rows[0].seq} of the state does not fit what came before it: {error}",
            hint="edge-cl doctor says more; a saved version or a copy can take its place",
        ) from error
    journal.seq = rows[-1].seq
    journal.lessons.add(rows)


def _calls(samples: Sequence[Sample], *, together: bool) -> Iterator[list[Sample]]:
    """Yield the samples of each call; neighbouring calls that learn as one where `together`."""
    call: list[Sample] = []
    for i, (row, q) in enumerate(samples):
        call.append((row, q))
        following = samples[i + 1][0] if i + 1 < len(samples) else None
        joined = together and following and following.kind == row.kind == "learned"
        if row.last and not joined:
            yield call
            call = []
