"""An exporter's report as lines for people."""

from __future__ import annotations

from typing import Any

import msgspec


class _Accuracy(msgspec.Struct):
    float_features: float
    deployed: float
    tested: int


class _Found(msgspec.Struct):
    pictures: int
    cosine_mean: float
    cosine_worst: float
    held_out: str = ""
    nearest_mean: _Accuracy | None = None
    lda: _Accuracy | None = None
    ridge: _Accuracy | None = None


class _Report(msgspec.Struct):
    calibration_pictures: int
    encoders: dict[str, _Found]


def report_rows(report: Any) -> list[tuple[str, object]]:
    """Return what our exporter found, as lines; another's report is left to --json."""
    if report is None:
        return []
    try:
        known = msgspec.convert(report, _Report)
    except msgspec.ValidationError:
        return [("report", "of a kind not known here: see --json")]
    rows: list[tuple[str, object]] = [
        ("calibrated on", f"{known.calibration_pictures} pictures"),
    ]
    for member, found in known.encoders.items():
        cosine = f"cosine mean {found.cosine_mean:.4f}, worst {found.cosine_worst:.4f}"
        rows.append((f"{member} against float", f"{cosine} ({found.pictures} other pictures)"))
        for head, accuracy in (
            ("ridge", found.ridge),
            ("LDA", found.lda),
            ("nearest mean", found.nearest_mean),
        ):
            if accuracy is not None:
                gap = f"{accuracy.deployed:.3f} (float {accuracy.float_features:.3f})"
                by = f" by {found.held_out}" if found.held_out else ""
                rows.append((f"{member}, {head}", f"{gap}, {accuracy.tested} tested{by}"))
    return rows
