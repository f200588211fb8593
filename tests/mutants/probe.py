"""Look for harm: `python -m mutants.probe NAME...` ends with 1 and a line when it finds some."""

import sys
import tempfile
from pathlib import Path

from crash.explore import explore
from crash.lessons import Promise, Teach
from crash.oplog import Mark, Sync
from crash.tracer import trace
from crash.twice import killed_then_cut
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from media import FAST, Base, Taught, beside_a_log, flips, verdict, write

SNAPSHOTS = ["snapshot-0.safetensors", "snapshot-1.safetensors"]


class HarmError(Exception):
    """Something was found."""


def refuse(failures):
    if failures:
        raise HarmError(failures[0])


def cuts(course="everything", head="ncm", each=1):
    """A power cut after every change to the folder."""
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        told = trace(Teach(course, head, each), folder)
    refuse(told.error.strip().splitlines()[-1:])
    refuse(explore(told.log, Promise(course, head, each), most_failures=1).failures)


def groups():
    cuts(each=4)


def killed():
    """A process killed before it flushed what it wrote, another one, and then a power cut."""
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        log = trace(Teach("everything", "ncm"), folder).log
    unflushed = [
        i
        for i in range(8, len(log.ops))
        if isinstance(log.ops[i], Sync) and not isinstance(log.ops[i - 1], Sync | Mark)
    ]
    for prefix in unflushed[3 :: len(unflushed) // 20]:
        refuse(
            killed_then_cut(
                log,
                [prefix],
                Teach("everything", "ncm", most=2),
                Promise("everything", "ncm"),
                most_failures=1,
            ).failures
        )


def rot():
    """Flipped bits; those of the files that are hit hardest first."""
    rows = (b"cup", b"key", b"dog")
    for base, files, count, around in (
        (Base(6, "ncm", 21, "left", plain=True, each=3), ["events.db"], 500, rows),
        (Base(4, "ncm", 2, "left"), SNAPSHOTS, 150, ()),
        (Base(4, "ncm", 2, "left"), ["events.db"], 700, rows),
        (Base(4, "ncm", 3, "left", renamed=True), SNAPSHOTS, 150, ()),
        (Base(4, "ncm", 70, "killed"), ["events.db-wal"], 150, ()),
    ):
        refuse(flips(base, count, 1, files=files, around=around, most=1)[1])


def files():
    """Whole files missing."""
    taught = Taught(Base(4, "ncm", 70, "killed"))
    with tempfile.TemporaryDirectory(dir=FAST) as place:
        refuse([said] if (said := beside_a_log(taught, Path(place, "log"))) else [])
        for name in ("events.db", *SNAPSHOTS):
            content = {n: data for n, data in taught.content.items() if n != name}
            write(content, Path(place, "s"))
            said = verdict(taught, Path(place, "s"))
            refuse([said] if said.startswith("WRONG") else [])


def full():
    """A disk that is full for a while."""
    from full_disk import steady

    refuse([str(one) for one in steady([0, 1, 2, 3]) if one.wrong])


def full_long():
    """A disk that is full for so long that the ring goes round."""
    from full_disk import without_snapshots

    refuse([one.wrong for one in [without_snapshots()] if one.wrong])


def clients():
    """Calls that come again."""
    from test_exactly_once import Clients

    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        Clients,
        settings=settings(
            max_examples=120,
            stateful_step_count=50,
            phases=[Phase.generate],
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=checks,
        ),
    )


def large():
    """A call of more samples than the ring holds, that comes again."""
    from test_exactly_once import larger_than_the_ring

    with tempfile.TemporaryDirectory(dir=FAST) as place:
        larger_than_the_ring(Path(place))


PROBES = {
    "large": large,
    "cuts": cuts,
    "groups": groups,
    "killed": killed,
    "rot": rot,
    "files": files,
    "full": full,
    "full-long": full_long,
    "clients": clients,
}


def main(names):
    for name in names:
        try:
            PROBES[name]()
        except Exception as error:  # noqa: BLE001, whatever it is, the harm was seen
            print(f"{name}: {type(error).__name__}: {str(error).splitlines()[0][:200]}")  # noqa: T201
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
