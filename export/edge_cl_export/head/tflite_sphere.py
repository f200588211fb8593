r"""A vector brought to length 1 and put on the grid in float32, as float64 would have rounded it.

What float32 cannot hold is carried in a second number. With c a power of two near the length of
a usual x, so that nothing is lost in u = x / c:

    u = a + b,  a = rint(2⁹ u) / 2⁹                       |b| <= 2⁻¹⁰                    (1)
    ‖u‖² = A + B,  A = Σ a²,  B = Σ b (u + a)             A exact up to 64               (2)
    t = √(A + B),  t = t₁ + t₂                            twelve bits each (Veltkamp)     (3)
    ‖u‖ = t + s,  s = (((A - t₁²) - 2 t₁ t₂) - t₂² + B) / 2t                             (4)
    q = rint(2¹¹ u / t),  w = ((2¹¹ u - q t₁) - q t₂) - q s                              (5)
    q ← q + rint(w / t)                                                                  (6)

q has twelve bits, so both products with halves of t in (5) are exact, and w is what is left of
2¹¹ u. At d = 1280 plain float32 has a feature a grid step away in 17 of 4,000 rows, (6) in none.
Of rows that are eight times longer than c, or thirty times shorter, one of a thousand is.

References
----------
Dekker. A floating-point technique for extending the available precision. Numer. Math. 18 (1971).
"""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema

from edge_cl_export.head.tflite_model import Operators

__all__ = ["sphere"]

_OP = schema.BuiltinOperator
_FINE = 2.0**9  # of (1)
_SPLIT = 2.0**12 + 1.0  # of (3)
_GRID = 2.0**11  # of (5)
_TINY = 1e-18  # a length that divides nothing but zero


def sphere(part: Operators, x: int, d: int, unit: float) -> int:
    """Append (1) to (6); x is (1, d), `unit` is c; return q."""
    row = _Arithmetic(part, [1, d])
    one = _Arithmetic(part, [1, 1])
    u = row.times(x, part.constant([1.0 / unit]))
    a = row.times(row.rounded(row.times(u, part.constant([_FINE]))), part.constant([1.0 / _FINE]))
    b = row.less(u, a)  # (1)
    A = one.total(row.times(a, a))
    B = one.total(row.times(b, row.plus(u, a)))  # (2)
    t = one.largest(one.root(one.plus(A, B)), part.constant([_TINY]))
    wide = one.times(t, part.constant([_SPLIT]))
    t1 = one.less(wide, one.less(wide, t))
    t2 = one.less(t, t1)  # (3)
    cross = one.times(t1, t2)
    left = one.less(one.less(A, one.times(t1, t1)), one.plus(cross, cross))
    left = one.plus(one.less(left, one.times(t2, t2)), B)
    s = one.over(left, one.plus(t, t))  # (4)
    long = row.times(u, part.constant([_GRID]))
    q = row.rounded(row.over(long, t))
    w = row.less(row.less(long, row.times(q, t1)), row.times(q, t2))
    w = row.less(w, row.times(q, s))  # (5)
    return row.plus(q, row.rounded(row.over(w, t)))  # (6)


class _Arithmetic:
    """Float32 operators whose result has one shape."""

    def __init__(self, part: Operators, shape: list[int]) -> None:
        self._part, self._shape = part, shape

    def plus(self, x: int, y: int) -> int:
        options = (schema.BuiltinOptions.AddOptions, schema.AddOptionsT())
        return self._part.put(_OP.ADD, [x, y], self._shape, options)

    def less(self, x: int, y: int) -> int:
        options = (schema.BuiltinOptions.SubOptions, schema.SubOptionsT())
        return self._part.put(_OP.SUB, [x, y], self._shape, options)

    def times(self, x: int, y: int) -> int:
        options = (schema.BuiltinOptions.MulOptions, schema.MulOptionsT())
        return self._part.put(_OP.MUL, [x, y], self._shape, options)

    def over(self, x: int, y: int) -> int:
        options = (schema.BuiltinOptions.DivOptions, schema.DivOptionsT())
        return self._part.put(_OP.DIV, [x, y], self._shape, options)

    def largest(self, x: int, y: int) -> int:
        options = (schema.BuiltinOptions.MaximumMinimumOptions, schema.MaximumMinimumOptionsT())
        return self._part.put(_OP.MAXIMUM, [x, y], self._shape, options)

    def rounded(self, x: int) -> int:
        return self._part.put(_OP.ROUND, [x], self._shape)

    def root(self, x: int) -> int:
        return self._part.put(_OP.SQRT, [x], self._shape)

    def total(self, x: int) -> int:
        """Return the sum of a row, (1, 1)."""
        options = (schema.BuiltinOptions.ReducerOptions, schema.ReducerOptionsT(keepDims=True))
        axis = self._part.constant([1], "int32")
        return self._part.put(_OP.SUM, [x, axis], self._shape, options)
