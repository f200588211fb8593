"""The demonstration: teach twenty kinds of things group by group, and forget none of them.

`run_demo` streams the pictures that ship with edge-cl through the shipped encoder, one at a
time and class group by class group, and compares three heads with the same head fitted to
all samples at once (equal by construction) and with a softmax layer trained by SGD over the
same single pass (which forgets). Then it saves, reopens, undoes and forgets, and checks that
each left exactly what it should.
"""

from __future__ import annotations

from edge_cl.demo.report import DemoReport, run_demo

__all__ = ["DemoReport", "run_demo"]
