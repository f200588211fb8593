"""What a board's profile says, as lines: each with its source, and marked where unverified."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

from edge_cl.cli.output import counted
from edge_cl.device.contradiction import tables
from edge_cl.device.schema import (
    Accelerator,
    Bus,
    Cache,
    Cluster,
    Copying,
    Execution,
    Latency,
    Memory,
    PowerDraw,
    Profile,
    Runtimes,
    Sensor,
    Threads,
    Throughput,
    marked,
)

__all__ = ["profile_rows", "summary"]


_SENSORS = {
    "temperature": "temperature from",
    "clock": "clock from",
    "throttled": "throttling from",
    "power": "power from",
}


def profile_rows(profile: Profile) -> Iterator[tuple[str, str]]:
    """Yield (what it is about, what is said of it) of everything that a profile says."""
    yield "board", profile.name
    yield "chip", profile.soc
    yield "architecture", profile.architecture
    for name in profile.compatible:
        yield "device tree", name
    if profile.note:
        yield "note", profile.note
    for _, table in tables(profile):
        about, told = _told(table)
        seen = f", seen {table.verified}" if isinstance(table.verified, datetime.date) else ""
        yield about, f"{marked(told, table.verified)} [{table.source}{seen}]"


def summary(profile: Profile) -> tuple[str, str, str]:
    """Return a board's cores, accelerators and memory, each in a few words; "-" for none."""
    cores = [marked(f"{c.cores} {c.core}", c.verified) for c in profile.clusters]
    besides = [marked(a.name, a.verified) for a in profile.accelerators]
    memory = profile.memory
    sizes = marked(_sizes(memory), memory.verified) if memory is not None else "-"
    return " + ".join(cores), " + ".join(besides) or "-", sizes


def _told(table: Any) -> tuple[str, str]:
    match table:
        case Cluster():
            clock = f", {table.max_mhz} MHz" if table.max_mhz else ""
            flags = f", {' '.join(table.isa)}" if table.isa else ", neither dotprod nor fp16"
            return "cores", f"{table.cores} {table.core}{clock}{flags}"
        case Cache():
            sizes = [f"{kb} KB {level}" for level, kb in _levels(table) if kb]
            return "cache", f"{', '.join(sizes) or 'not known'} that one core can use"
        case Memory():
            return "memory", f"{table.kind} {_sizes(table)}".strip()
        case Copying():
            also = f", sets {_range(table.set_mb_s)}" if table.set_mb_s else ""
            return "one core copies", f"{_range(table.copy_mb_s)}{also}"
        case Bus():
            return "memory bus", f"{table.mb_s:g} MB/s at best"
        case Accelerator():
            tops = f", {table.tops:g} TOPS int8" if table.tops else ""
            return "accelerator", f"{table.name} ({table.kind}{tops})"
        case Execution():
            options = "".join(f", {name}={value}" for name, value in table.options.items())
            needs = f"; needs {table.needs}" if table.needs else ""
            what = f"{table.runtime} on {table.accelerator}, {' '.join(table.precisions)}"
            return "encoder", f"{what}{options}{needs}"
        case Threads():
            return "threads", f"{table.encoder} on {table.cores} cores. {table.advice}".strip()
        case Sensor():
            return _SENSORS[table.tells], table.where
        case PowerDraw():
            return "draws", f"{table.watts:g} W: {table.doing}"
        case Runtimes():
            return "oldest runtimes", _versions(table)
        case Latency():
            threads = f", {counted(table.threads, 'thread')}" if table.threads else ""
            cores = f" on {table.cores} cores" if table.cores else ""
            return "published", f"{_network(table)}{threads}{cores}: {table.ms:g} ms a picture"
        case Throughput():
            return "published", f"{_network(table)}, batch {table.batch}: {table.fps:g} pictures/s"
    raise TypeError(f"no words for {type(table).__name__}")


def _levels(cache: Cache) -> tuple[tuple[str, int], ...]:
    return ("L2", cache.l2_kb), ("L3", cache.l3_kb)


def _sizes(memory: Memory) -> str:
    return f"{', '.join(f'{size:g}' for size in memory.sizes_gb)} GB"


def _range(pair: tuple[float, float]) -> str:
    least, most = pair
    return f"{least:g} MB/s" if least == most else f"{least:g} to {most:g} MB/s"


def _versions(runtimes: Runtimes) -> str:
    named = (("onnxruntime", runtimes.onnxruntime), ("tflite", runtimes.tflite))
    found = ", ".join(f"{name} {version}" for name, version in named if version) or "none"
    return f"{found}; {runtimes.system}" if runtimes.system else found


def _network(one: Latency | Throughput) -> str:
    return f"{one.network} {one.precision}, {one.library} on {one.on}"
