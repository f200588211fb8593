"""`edge-cl inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_cl.cli import options
from edge_cl.cli.opening import bundle_at
from edge_cl.cli.output import json_line, pairs

if TYPE_CHECKING:
    from edge_cl.bundle import Bundle

EXAMPLES = """
  edge-cl inspect                             the one that ships with edge-cl
  edge-cl inspect encoder.edgecl
  edge-cl inspect --device raspberry-pi-5     what a learner needs there
  edge-cl inspect --device raspberry-pi-5 --head fecam --classes 20
"""


def inspect(
    bundle: options.Shipped = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A board: what a learner needs there"),
    ] = None,
    classes: Annotated[int, typer.Option(min=1, help="Of --device: how many")] = 100,
    head: Annotated[str, typer.Option(metavar="NAME", help="Of --device: which head")] = "ridge",
    require_signature: options.RequireSignature = None,
    as_json: options.Json = False,
) -> None:
    """Say what is in a bundle.

    Every byte is checked against the digests in the bundle; a damaged one is an error, exit 1.
    Whether its encoders work on this machine is what edge-cl verify finds out.
    """
    import msgspec

    from edge_cl.assets import shipped_bundle

    bundle = bundle or shipped_bundle()
    opened = bundle_at(bundle, require_signature)
    needs = _needs(opened, device, classes, head) if device else []
    if as_json:
        fields: dict[str, Any] = {
            "verified": True,
            "sha256": opened.sha256,
            "bytes": bundle.stat().st_size,
            "manifest": msgspec.to_builtins(opened.manifest),
            "report": _report(opened),
        }
        if needs:
            fields["needs"] = dict(needs)
        json_line(fields)
    else:
        _print(opened, bundle)
        pairs(needs)


def _print(bundle: Bundle, path: Path) -> None:
    from edge_cl.cli.report_lines import report_rows

    m = bundle.manifest
    shape = " x ".join(str(n) for n in m.input.shape)
    rows: list[tuple[str, object]] = [
        ("bundle", f"{bundle.name} ({path.stat().st_size / 1e6:.1f} MB)"),
        ("verified", "every member has the digest that the manifest says"),
        ("sha256", bundle.sha256),
        ("description", m.description),
        ("licence", m.licence),
        ("source", m.source),
        ("input", f"{m.input.kind} {shape} {m.input.dtype} {m.input.colour}".rstrip()),
        ("features", f"{m.embedding.d} (grid step {m.embedding.scale:g})"),
    ]
    for spec in m.encoders:
        size = m.members[spec.member].size / 1e6
        what = f"{spec.runtime} {spec.precision} {spec.recipe} ({spec.member}, {size:.1f} MB)"
        rows.append(("encoder", what))
    if not m.encoders:
        rows.append(("encoder", "none: the features come ready-made"))
    rows += [(f"made with {tool}", version) for tool, version in m.tools.items()]
    rows += report_rows(_report(bundle))
    pairs(rows)


def _needs(bundle: Bundle, device: str, classes: int, head: str) -> list[tuple[str, object]]:
    """Return what a learner needs on a board, as lines."""
    from edge_cl.device import learner_needs, load_profile
    from edge_cl.heads import head_options

    profile = load_profile(device)
    kept = head_options(head).promise.statistics
    needs = learner_needs(bundle.manifest.embedding.d, classes, statistics=kept)
    least, most = needs.learn_ms(profile)
    sizes = ", ".join(f"{size:g}" for size in profile.memory.sizes_gb)
    return [
        ("device", f"{profile.name} ({profile.cores} {profile.core}, {sizes} GB)"),
        ("head", head),
        ("classes", classes),
        ("memory of the learner", f"{needs.memory_bytes / 1e6:.1f} MB, Python and network apart"),
        ("state on disk", f"{needs.state_bytes / 1e6:.1f} MB"),
        ("learning moves", f"{needs.learn_bytes / 1e6:.1f} MB a sample"),
        ("which takes there", f"at least {least:.1f} to {most:.1f} ms"),
        ("copy rate from", profile.memory.source),
    ]


def _report(bundle: Bundle) -> Any:
    """Return what the exporter found out, or None where it left no report."""
    import msgspec

    from edge_cl.errors import BundleError

    blob = bundle.files.get("report.json")
    try:
        return msgspec.json.decode(blob) if blob is not None else None
    except msgspec.DecodeError as error:
        raise BundleError(f"report.json is not JSON: {error}") from error
