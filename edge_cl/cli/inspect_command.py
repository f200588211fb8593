"""`edge-cl inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_cl.cli import options
from edge_cl.cli.opening import bundle_at
from edge_cl.cli.output import json_line, pairs

if TYPE_CHECKING:
    from edge_cl.bundle import Bundle

EXAMPLES = """
  edge-cl inspect                             the one that ships with edge-cl
  edge-cl inspect encoder.edgecl
"""


def inspect(
    bundle: options.Shipped = None,
    require_signature: options.RequireSignature = None,
    as_json: options.Json = False,
) -> None:
    """Say what is in a bundle.

    Every byte is checked against the digests in the bundle; a damaged one is an error, exit 1.
    Whether its encoders work on this machine is what edge-cl verify finds out; what a learner needs
    on a board, edge-cl plan.
    """
    import msgspec

    from edge_cl.assets import shipped_bundle

    bundle = bundle or shipped_bundle()
    opened = bundle_at(bundle, require_signature)
    if as_json:
        fields: dict[str, Any] = {
            "verified": True,
            "sha256": opened.sha256,
            "bytes": bundle.stat().st_size,
            "manifest": msgspec.to_builtins(opened.manifest),
            "report": _report(opened),
        }
        json_line(fields)
    else:
        _print(opened, bundle)


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


def _report(bundle: Bundle) -> Any:
    """Return what the exporter found out, or None where it left no report."""
    import msgspec

    from edge_cl.errors import BundleError

    blob = bundle.files.get("report.json")
    try:
        return msgspec.json.decode(blob) if blob is not None else None
    except msgspec.DecodeError as error:
        raise BundleError(f"report.json is not JSON: {error}") from error
