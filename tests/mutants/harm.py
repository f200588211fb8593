"""The list: what is harmed, where, how, and which probes have to see it.

Not in it, since nothing is lost without them: the two syncs of a new ring. SQLite syncs the file
when it turns the write-ahead log on, and the snapshots that follow sync the folder.
"""

from dataclasses import dataclass

RING, ROWS, FOLDER = "store/ring.py", "store/rows.py", "store/folder.py"
KEPT = """\
            if self.store is not None:
                self._keep(self.store, [pack(row, q) for row, q in samples])
"""
APPLIED = """\
            self.seq += len(samples)
            self.lessons.add([row for row, _ in samples])
        return result
"""
WHILE = """\
    while (following := rows.get(start + len(replay) + 1)) and following[0].kind != "note":
"""
JUMPED = """\
        if following[0].kind == "note":
            break
        replay.append(following)  # a note"""
RECOVERY, AHEAD = "store/recovery.py", "store/write_ahead.py"


@dataclass(frozen=True)
class Mutant:
    """Text that is replaced in files of edge_cl: (file, before, after), each found once.

    Parameters
    ----------
    name : what is wrong with it.
    probes : of `probe.PROBES`, in order; one of them must fail.
    """

    name: str
    probes: tuple
    changes: tuple


def mutant(name, probes, *changes):
    return Mutant(name, tuple(probes.split()), changes)


MUTANTS = [
    # -- what reaches the disk, and when
    mutant(
        "synchronous=NORMAL",
        "cuts",
        (RING, '"PRAGMA synchronous=FULL"', '"PRAGMA synchronous=NORMAL"'),
    ),
    mutant(
        "synchronous=OFF", "cuts", (RING, '"PRAGMA synchronous=FULL"', '"PRAGMA synchronous=OFF"')
    ),
    mutant(
        "the journal in memory",
        "cuts",
        (RING, '"PRAGMA journal_mode=WAL"', '"PRAGMA journal_mode=MEMORY"'),
        (RING, 'mode != ("wal",)', "not mode"),
    ),
    mutant(
        "a snapshot is not synced",
        "cuts",
        (
            "files.py",
            "            os.fsync(stream.fileno())\n        Path(temporary)",
            "        Path(temporary)",
        ),
    ),
    mutant(
        "the name of a snapshot is not synced",
        "cuts",
        (
            "files.py",
            "        temporary = None\n        sync_folder(path.parent)\n",
            "        temporary = None\n",
        ),
    ),
    mutant(
        "a snapshot is written in place",
        "cuts",
        (
            "files.py",
            "        Path(temporary).replace(path)\n        temporary = None\n",
            "        path.write_bytes(data)\n",
        ),
    ),
    mutant(
        "what a killed writer left is not synced",
        "killed",
        (
            FOLDER,
            "            self._sync()\n            return self._proven()",
            "            return self._proven()",
        ),
    ),
    mutant(
        "applied before it is on disk",
        "full",
        ("journal.py", KEPT, ""),
        ("journal.py", APPLIED, KEPT + APPLIED),
    ),
    mutant(
        "what waits is let go",
        "groups",
        (
            "journal.py",
            "self.waiting + rows)\n        self.waiting",
            "[*self.waiting[1:], *rows])\n        self.waiting",
        ),
    ),
    mutant(
        "the ring rule is off",
        "full-long",
        (FOLDER, "return seq - min(self._written) <= self._open_ring.meta.rows", "return True"),
    ),
    mutant(
        "the newer snapshot is overwritten",
        "rot",
        (
            FOLDER,
            "return (0, 1) if self._written[0] <= self._written[1] else (1, 0)",
            "return (1, 0) if self._written[0] <= self._written[1] else (0, 1)",
        ),
    ),
    mutant(
        "one snapshot where both are needed",
        "rot",
        (FOLDER, "        if both:\n            try:", "        if False:\n            try:"),
    ),
    mutant(
        "a log that is left stays beside a new ring",
        "files",
        (
            FOLDER,
            "            files.remove(companion)  # a log that is left",
            "            pass  # a log that is left",
        ),
    ),
    # -- what is read back
    mutant(
        "rows in another place",
        "cuts",
        (
            RING,
            "(row, seq % self.meta.rows))\n                if done",
            "(row, (seq + 1) % self.meta.rows))\n                if done",
        ),
    ),
    mutant(
        "the checksum covers features only",
        "rot",
        (ROWS, "_CRC.pack(zlib.crc32(body))", "_CRC.pack(zlib.crc32(body[_HEAD.size + _LABEL :]))"),
        (ROWS, "!= zlib.crc32(data[:-4])", "!= zlib.crc32(data[_HEAD.size + _LABEL : -4])"),
    ),
    mutant(
        "the checksum is not looked at",
        "rot",
        (ROWS, " or _CRC.unpack(data[-4:])[0] != zlib.crc32(data[:-4])", ""),
    ),
    mutant(
        "the digest of a snapshot is not looked at",
        "rot",
        ("sealed.py", "if found != digest(text, tensors):", "if not found:"),
    ),
    mutant(
        "damage to the log is not looked for",
        "rot",
        (AHEAD, "    if held.all() and not headless:\n", "    if True:\n"),
    ),
    mutant(
        "calls that are not whole are replayed",
        "rot",
        (RECOVERY, "    while replay and not replay[-1][0].last:\n", "    while False:\n"),
    ),
    mutant(
        "a gap is jumped over",
        "rot",
        (RECOVERY, WHILE, "    for following in (rows[n] for n in sorted(rows) if n > start):\n"),
        (RECOVERY, "        replay.append(following)  # a note", JUMPED),
    ),
    mutant(
        "what is lost is not counted",
        "rot",
        (RECOVERY, "    lost = last - end\n", "    lost = 0\n"),
    ),
    mutant(
        "numbers are given twice",
        "rot",
        (RECOVERY, "        seq=last,\n", "        seq=end,\n"),
    ),
    mutant(
        "the first row behind a snapshot is left out",
        "cuts",
        (RECOVERY, "rows.get(start + len(replay) + 1)", "rows.get(start + len(replay) + 2)"),
    ),
    mutant(
        "rows are replayed in another order",
        "cuts",
        (
            "replay.py",
            "for call in _calls(proven.replay, together=journal.knowledge.order_free):",
            "for call in [*_calls(proven.replay, together=False)][::-1]:",
        ),
    ),
    # -- exactly once
    mutant(
        "an event that comes again is new",
        "cuts",
        ("lessons.py", "found = self._answers.get(event)\n", "found = None\n"),
    ),
    mutant(
        "events of the ring are not listed",
        "cuts",
        ("replay.py", "    journal.lessons.load([row for row, _ in proven.earlier])\n", ""),
        ("replay.py", "    journal.lessons.add(rows)\n", ""),
    ),
    mutant("events are not stored", "cuts", (ROWS, "row.event or _NO_EVENT", "_NO_EVENT")),
    mutant(
        "marks of clients are not stored",
        "clients",
        (
            "lessons.py",
            "        marks = dict(self._marks)\n",
            "        marks: dict[int, int] = {}\n",
        ),
    ),
    mutant(
        "a call that went past the ring is not remembered",
        "large",
        ("journal.py", "(records, last_call=call)", "(records, last_call=None)"),
    ),
]
