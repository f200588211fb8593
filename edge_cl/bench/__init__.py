"""How long a picture takes on this machine, stage by stage, and what learning adds.

`bench` measures (`measure`); what comes back is `document.BenchReport`, which goes to a file and
comes back from one. `edge_cl.device.held_back` says whether the board let it be measured at all,
`compare` whether it has become worse, `report` makes a table of several.
"""

from __future__ import annotations

from edge_cl.bench.compare import Comparison, Tolerance, compare, refuse_other, tolerance_named
from edge_cl.bench.document import BenchReport, EncoderBench, Percentiles, read_report, write_report
from edge_cl.bench.measure import MLPERF, bench
from edge_cl.bench.report import markdown_table

__all__ = [
    "MLPERF",
    "BenchReport",
    "Comparison",
    "EncoderBench",
    "Percentiles",
    "Tolerance",
    "bench",
    "compare",
    "markdown_table",
    "read_report",
    "refuse_other",
    "tolerance_named",
    "write_report",
]
