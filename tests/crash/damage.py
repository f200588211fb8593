"""Seven kinds of what a power cut leaves of the bytes that were not yet durable.

Each is a function of a file and a source of random numbers and returns bytes. Units are those of
the page cache (4096) and of a device's sector (512): one is old or new as a whole, and where it was
written several times, anything in between.
"""

import random

from crash.disk import put
from crash.oplog import Resize, Write

SECTOR, BLOCK = 512, 4096


def everything(file, rng):
    """All that was written, flushed or not."""
    return bytes(file.now)


def only_synced(file, rng):
    """Nothing but what fsync promised."""
    return bytes(file.durable)


def torn(file, rng):
    """All but the end of the last write, which stops at a sector's edge."""
    last = max((i for i, op in enumerate(file.pending) if isinstance(op, Write)), default=None)
    if last is None:
        return bytes(file.now)
    data = bytearray(file.durable)
    for i, op in enumerate(file.pending):
        if i == last:
            first = -(-(op.offset + 1) // SECTOR) * SECTOR
            edges = range(first, op.offset + len(op.data), SECTOR)
            cut = rng.choice(edges) if edges else op.offset
            op = Write(op.node, op.offset, op.data[: cut - op.offset])
            if not op.data:
                continue
        put(data, op)
    return bytes(data)


def random_blocks(file, rng):
    """Each unsynced block of 4096 bytes is old, new, or as it was between two writes."""
    return _mixed(file, rng, BLOCK)


def random_sectors(file, rng):
    """Each unsynced sector of 512 bytes is old, new, or as it was between two writes."""
    return _mixed(file, rng, SECTOR)


def zero_extended(file, rng):
    """The length is new; some or all blocks that the file grew by are zeros."""
    length, old = len(file.now), len(file.durable)
    data = bytearray(file.durable[:length]) + bytes(max(0, length - old))
    if rng.random() < 0.5:  # in place some blocks may have arrived all the same
        for start, end in _dirty(file, BLOCK):
            if start >= old - old % BLOCK and rng.random() < 0.5:
                data[start:end] = file.now[start:end]
    return bytes(data)


def garbage(file, rng):
    """The length is new; some or all unsynced bytes are random."""
    data = bytearray(file.now)
    all_of_it = rng.random() < 0.5
    for start, end in _dirty(file, BLOCK):
        if all_of_it or rng.random() < 0.5:
            data[start:end] = rng.randbytes(end - start)
    return bytes(data)


KINDS = {
    "all": everything,
    "synced": only_synced,
    "torn": torn,
    "blocks": random_blocks,
    "sectors": random_sectors,
    "zeros": zero_extended,
    "garbage": garbage,
}


def _pieces(op, unit):
    """Cut a write at the edges of units: (unit's number, write)."""
    at, end = op.offset, op.offset + len(op.data)
    while at < end:
        stop = min(end, at - at % unit + unit)
        yield at // unit, Write(op.node, at, op.data[at - op.offset : stop - op.offset])
        at = stop


def _dirty(file, unit):
    """Return the ranges of unsynced bytes within the file's length, none across a unit's edge."""
    ranges = set()
    for op in file.pending:
        if isinstance(op, Write):
            for _, piece in _pieces(op, unit):
                start, end = piece.offset, min(piece.offset + len(piece.data), len(file.now))
                if start < end:
                    ranges.add((start, end))
    return sorted(ranges)


def _mixed(file, rng: random.Random, unit):
    """Let each unit, and the length, stop at a random one of their versions."""
    steps = []  # (unit or "length", what happens to it)
    length = len(file.durable)
    for op in file.pending:
        if isinstance(op, Resize):
            steps.extend((number, op) for number in range(op.size // unit, -(-length // unit)))
            length = op.size
            steps.append(("length", length))
        else:
            steps.extend(_pieces(op, unit))
            if op.offset + len(op.data) > length:
                length = op.offset + len(op.data)
                steps.append(("length", length))
    count = {}
    for what, _ in steps:
        count[what] = count.get(what, 0) + 1
    versions = {what: rng.randint(0, n) for what, n in count.items()}
    data = bytearray(file.durable)
    length = len(data)
    for what, step in steps:
        if versions[what] == 0:
            continue
        versions[what] -= 1
        if what == "length":
            length = step
        elif isinstance(step, Resize):  # this unit becomes zeros from there on
            start, end = max(step.size, what * unit), min(len(data), (what + 1) * unit)
            data[start:end] = bytes(max(0, end - start))
        else:
            put(data, step)
    put(data, Resize(0, length))
    return bytes(data)
