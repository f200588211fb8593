r"""Champion and challenger: another head comes to serve only where it was found better.

Both answer the same rows. Head j is better than the serving head i where the rows on which one
alone was right tell them apart (McNemar 1947), as in `edge_cl.contest`:

    B_ji - B_ij > 3 √(B_ij + B_ji)                                                     (1)

The rows are those of the stream, each tested before it was learned, or held-out ones that
neither head has learned. Either way what was found is recorded with the state.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from edge_cl.arrays import I16
from edge_cl.contest import Contest, apart
from edge_cl.errors import InputError
from edge_cl.heads import HeadOptions
from edge_cl.knowledge import Knowledge
from edge_cl.specs import described
from edge_cl.store import Promotion, Records

__all__ = ["promoted_by_rule", "tested_held_out", "tested_prequentially", "with_promotion"]

_KEPT = 100


def promoted_by_rule(known: Knowledge, before: HeadOptions, seq: int) -> Promotion:
    """Return the record of a head that `auto` has just let serve, in the place of `before`."""
    contest = _contest(known)
    return Promotion(
        seq=seq,
        before=described(before),
        after=described(known.options[0]),
        by="rule",
        rows="prequential",
        tested=contest.tested,
        accuracy_before=float(contest.accuracy[known.options.index(before)]),
        accuracy_after=float(contest.accuracy[0]),
        promoted=True,
    )


def tested_prequentially(known: Knowledge, challenger: HeadOptions) -> Promotion:
    """Return whether a compared head has answered the stream better than the one that serves.

    Raises
    ------
    InputError : it is not compared, or nothing was tested yet.
    """
    if challenger not in known.options[1:]:
        raise InputError(
            f"{described(challenger)} is not among the heads that are compared",
            hint="compare it for a while (--compare), or test both on held-out samples",
        )
    contest, i = _contest(known), known.options.index(challenger)
    if not contest.tested:
        raise InputError("no sample was tested yet: nothing tells the heads apart")
    return Promotion(
        seq=0,
        before=described(known.options[0]),
        after=described(challenger),
        by="command",
        rows="prequential",
        tested=contest.tested,
        accuracy_before=float(contest.accuracy[0]),
        accuracy_after=float(contest.accuracy[i]),
        promoted=contest.is_better(i),
    )


def tested_held_out(
    known: Knowledge, challenger: HeadOptions, q: I16, labels: Sequence[str]
) -> Promotion:
    """Return whether a head answers held-out rows (n, d) better than the one that serves.

    A class that was never taught is a row that no head answers right.

    Raises
    ------
    InputError : there are no rows, nothing was learned, or it cannot be made from the sums.
    """
    if not len(q):
        raise InputError("expected at least one held-out sample, got none")
    if not known.moments.samples:
        raise InputError("nothing has been learned yet that could be tested")
    y = np.array([known.labels.known(n) if n in known.labels else -1 for n in labels], np.int64)
    other = known.under(challenger)
    first, second = (one.scores(q).argmax(axis=1) == y for one in (known.head, other))
    gained, given = int((second & ~first).sum()), int((first & ~second).sum())
    return Promotion(
        seq=0,
        before=described(known.options[0]),
        after=described(challenger),
        by="command",
        rows="held-out",
        tested=float(len(y)),
        accuracy_before=float(np.mean(first)),
        accuracy_after=float(np.mean(second)),
        promoted=bool(apart(np.array(gained), np.array(given))),  # (1)
    )


def with_promotion(records: Records, promotion: Promotion) -> Records:
    """Return the records with one more promotion; the newest hundred are kept."""
    kept = (*records.promotions, promotion)[-_KEPT:]
    return msgspec.structs.replace(records, promotions=kept)


def _contest(known: Knowledge) -> Contest:
    if known.contest is None:
        raise InputError("no heads are compared", hint="name some with --compare")
    return known.contest
