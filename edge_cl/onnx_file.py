"""What an `.onnx` file asks of the runtime beyond itself: other files, foreign operators.

A bundle's encoder must be one self-contained file of operators that every build of ONNX Runtime
has. Weights kept in another file were, for years and again and again, a way out of the folder of
a model; an operator of a foreign domain needs a library of somebody's code. Both are found here,
before ONNX Runtime sees the file.

The file is a Protobuf message. This walk reads what it needs of it and skips the rest unread:
no recursion, a bound on depth and on fields, every length compared with what is left. Where
Protobuf would merge or overwrite (a field that occurs twice), each occurrence is looked at.
"""

from __future__ import annotations

from edge_cl.errors import BundleError

__all__ = ["check_onnx"]

# The operator sets compiled into every official build. Others that exist are for training, for
# one accelerator, or are what ONNX Runtime writes for itself on one kind of CPU.
DOMAINS = frozenset({b"", b"ai.onnx", b"ai.onnx.ml", b"com.microsoft"})
_OTHER_FILES = frozenset({b"EPContext"})  # a built-in one, that names a file to be loaded

MAX_DEPTH = 64  # Protobuf itself gives up at 100
MAX_FIELDS = 1 << 20  # EfficientNet-Lite0 has 6,000

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# message -> field number -> message inside, wherever tensors or operators can be
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of a tensor
# name and domain of an operator, and of a function that the file defines itself
_NAMED = {"node": (4, 7), "function": (1, 10)}


def check_onnx(blob: bytes, where: str) -> None:
    """Refuse a model that is more than itself; `where` names it in errors.

    Raises
    ------
    BundleError : data in another file, an operator outside `DOMAINS` that the file does not
        define itself, or no ONNX model at all.
    """
    if blob[4:8] == b"ORTM":
        raise BundleError(
            f"{where} is in ONNX Runtime's own format",
            hint="store the .onnx file that it was made from",
        )
    used, defined = _Walk(blob, where).operators()
    foreign = sorted(used - defined)
    if foreign:
        domain, name = (ascii(part.decode("utf-8", "replace"))[1:-1][:60] for part in foreign[0])
        raise BundleError(
            f"{where} needs the custom operator {domain}::{name}",
            hint="export it with the operators of ai.onnx, ai.onnx.ml or com.microsoft",
        )


class _Walk:
    """One pass over the bytes of a model."""

    def __init__(self, blob: bytes, where: str) -> None:
        self._blob, self._where = blob, where
        self._fields = 0
        self._used: set[tuple[bytes, bytes]] = set()
        self._defined: set[tuple[bytes, bytes]] = set()
        self._stack = [("model", 0, len(blob), 0)]  # message, start, end, depth

    def operators(self) -> tuple[set[tuple[bytes, bytes]], set[tuple[bytes, bytes]]]:
        """Return (domain, name) of operators outside `DOMAINS`, and of functions in the file."""
        graphs = 0
        while self._stack:
            kind, start, end, depth = self._stack.pop()
            if depth > MAX_DEPTH:
                raise self._refusal(f"nests more than {MAX_DEPTH} deep")
            graphs += kind == "graph"
            self._message(kind, start, end, depth)
        if not graphs:
            raise self._refusal("holds no graph")
        return self._used, self._defined

    def _message(self, kind: str, position: int, end: int, depth: int) -> None:
        inside, named = _INSIDE[kind], _NAMED.get(kind, ())
        found: dict[int, bytes] = {}
        while position < end:
            number, wire, value, position = self._field(position, end)
            if number in inside:
                self._expect(wire, _BYTES)
                self._stack.append((inside[number], value, position, depth + 1))
            elif number in named:
                self._expect(wire, _BYTES)
                if number in found:
                    raise self._refusal("names an operator twice")
                found[number] = self._blob[value:position]
            elif kind == "tensor" and number == _EXTERNAL_DATA:
                raise self._elsewhere()
            elif kind == "tensor" and number == _DATA_LOCATION:
                self._expect(wire, _VARINT)
                if value:
                    raise self._elsewhere()
        if named:
            self._remember(kind, found.get(named[1], b""), found.get(named[0], b""))

    def _remember(self, kind: str, domain: bytes, name: bytes) -> None:
        if kind == "function":
            self._defined.add((domain, name))
        elif domain not in DOMAINS:
            self._used.add((domain, name))
        elif name in _OTHER_FILES:
            raise self._elsewhere()

    def _field(self, position: int, end: int) -> tuple[int, int, int, int]:
        """Return number, wire type, and value or start of one field, and where the next begins."""
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise self._refusal(f"has more than {MAX_FIELDS} fields")
        tag, position = self._varint(position, end)
        number, wire = tag >> 3, tag & 7
        if not number or tag >> 32:
            raise self._refusal("is not an ONNX model, or damaged")
        if wire == _VARINT:
            value, position = self._varint(position, end)
            return number, wire, value, position
        if wire == _BYTES:
            size, position = self._varint(position, end)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise self._refusal("is not an ONNX model, or damaged")
        if size > end - position:
            raise self._refusal("is not an ONNX model, or cut short")
        return number, wire, position, position + size

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if position >= end:
                raise self._refusal("is not an ONNX model, or cut short")
            byte = self._blob[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position
        raise self._refusal("is not an ONNX model, or damaged")

    def _expect(self, wire: int, wanted: int) -> None:
        if wire != wanted:
            raise self._refusal("is not an ONNX model, or damaged")

    def _elsewhere(self) -> BundleError:
        return self._refusal(
            "keeps data in another file", "export it as one file, without external data"
        )

    def _refusal(self, what: str, hint: str = "") -> BundleError:
        return BundleError(f"{self._where} {what}", hint=hint)
