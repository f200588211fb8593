"""Where results go: JSON with the machine's description, tables between markers in the docs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from edge_cl.device import describe_machine

MEASURED = Path(__file__).parent.parent / "docs" / "concepts" / "measured.md"


def write_results(path: Path, results: dict[str, object], packages: Sequence[str]) -> None:
    """Write `results` as JSON that diffs well; `packages`: further versions that matter."""
    machine = asdict(describe_machine())
    machine["packages"].update({name: metadata.version(name) for name in packages})
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"machine": machine, "results": results}
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_section(name: str, text: str, page: Path = MEASURED) -> None:
    """Replace what stands between the markers `name` of `page`."""
    start, end = f"<!-- {name}: generated -->", f"<!-- /{name} -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"expected the markers {start} and {end} in {page.name}")
    page.write_text(f"{before}{start}\n\n{text.strip()}\n\n{end}{after}", encoding="utf-8")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a markdown table; the first column is text, the others are numbers."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, rule, *rows])


def short(value: float) -> str:
    """Return `value` with two significant digits and no exponent."""
    if value >= 100:
        return f"{round(value, -1 if value < 1000 else -2):,.0f}"
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
