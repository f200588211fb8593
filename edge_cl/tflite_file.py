"""What a `.tflite` file asks of the runtime beyond itself: other files, custom operators.

The counterpart of `onnx_file`: a custom operator needs a library of somebody's code, an external
buffer another file. The file is a FlatBuffer: tables whose fields are found through offsets. Only
the tables that answer the question are read, every offset is compared with the file's length, and
nothing is followed twice. The runtime verifies the rest of the file when it loads it.

A file compiled for the Edge TPU holds its network as one custom operator, that only the TPU's
delegate knows. Such a file is taken where it is said to be one, and then it must be one.
"""

from __future__ import annotations

import struct

from edge_cl.errors import BundleError

__all__ = ["check_tflite"]

MAX_OPERATOR_CODES = 4096  # kinds of operators; about 210 exist
MAX_BUFFERS = 1 << 18

_CUSTOM_OF = {"edgetpu": b"edgetpu-custom-op"}  # accelerator -> what its compiler makes
_CUSTOM = 32  # BuiltinOperator that means: see custom_code
# fields, by their place in the schema
_OPERATOR_CODES, _BUFFERS, _EXTERNAL_GROUPS, _EXTERNAL_BUFFERS = 1, 4, 8, 9  # of the model
_OLD_CODE, _CUSTOM_CODE, _CODE = 0, 1, 3  # of an operator code
_OFFSET, _SIZE = 1, 2  # of a buffer whose bytes lie behind the FlatBuffer


def check_tflite(blob: bytes, where: str, *, custom: str = "") -> None:
    """Refuse a model that is more than itself; `where` names it in errors.

    Parameters
    ----------
    custom : "edgetpu": the model is compiled for it, and holds its custom operator.

    Raises
    ------
    BundleError : a custom operator, data outside the FlatBuffer, or no TFLite model at all.
    """
    if blob[4:8] != b"TFL3":
        raise BundleError(f"{where} is not a TFLite model")
    try:
        _check(_Tables(blob), where, _CUSTOM_OF.get(custom, b""))
    except (struct.error, IndexError) as error:
        raise BundleError(f"{where} is not a TFLite model, or damaged: {error}") from error


def _check(tables: _Tables, where: str, allowed: bytes) -> None:
    met = not allowed
    model = tables.follow(0)
    for field in (_EXTERNAL_GROUPS, _EXTERNAL_BUFFERS):
        if tables.elements(model, field, MAX_BUFFERS):
            raise BundleError(
                f"{where} keeps data in another file",
                hint="convert it as one file, without external buffers",
            )
    for operator in tables.elements(model, _OPERATOR_CODES, MAX_OPERATOR_CODES):
        name = tables.text(operator, _CUSTOM_CODE)
        code = max(tables.number(operator, _OLD_CODE, "<b"), tables.number(operator, _CODE, "<i"))
        if allowed and code == _CUSTOM and name == allowed:
            met = True
        elif code == _CUSTOM or name:
            shown = ascii(name.decode("utf-8", "replace"))[1:-1]
            raise BundleError(
                f"{where} needs the custom operator {shown or 'without a name'}",
                hint="convert it with built-in operators only",
            )
    if not met:
        raise BundleError(
            f"{where} has no operator {allowed.decode()}",
            hint="compile it for the Edge TPU first: edgetpu_compiler FILE.tflite",
        )
    for buffer in tables.elements(model, _BUFFERS, MAX_BUFFERS):
        if tables.number(buffer, _OFFSET, "<Q") or tables.number(buffer, _SIZE, "<Q"):
            raise BundleError(f"{where} keeps data behind its FlatBuffer")


class _Tables:
    """Tables of a FlatBuffer. A place outside the file raises IndexError or struct.error."""

    def __init__(self, blob: bytes) -> None:
        self._blob = blob

    def follow(self, position: int) -> int:
        """Return where the offset at `position` leads."""
        return position + self._read("<I", position)

    def number(self, table: int, field: int, kind: str) -> int:
        """Return a number of a table; 0, the default of all that are asked for, if left out."""
        position = self._position(table, field)
        return self._read(kind, position) if position else 0

    def text(self, table: int, field: int) -> bytes:
        """Return the first bytes of a string of a table, empty if left out."""
        position = self._position(table, field)
        if not position:
            return b""
        start = self.follow(position)
        size = self._read("<I", start)
        if size > len(self._blob) - start - 4:
            raise IndexError("a string ends behind the file")
        return self._blob[start + 4 : start + 4 + min(size, 60)]

    def elements(self, table: int, field: int, most: int) -> list[int]:
        """Return where the tables of a vector are."""
        position = self._position(table, field)
        if not position:
            return []
        start = self.follow(position)
        count = self._read("<I", start)
        if count > most or 4 * count > len(self._blob) - start - 4:
            raise IndexError(f"a list of {count}")
        offsets = struct.unpack_from(f"<{count}I", self._blob, start + 4)
        return [start + 4 + 4 * i + offset for i, offset in enumerate(offsets)]

    def _position(self, table: int, field: int) -> int:
        """Return where a field of a table is, 0 if it was left out."""
        layout = table - self._read("<i", table)
        size = self._read("<H", layout)
        at = 4 + 2 * field
        if at + 2 > size:
            return 0
        offset = self._read("<H", layout + at)
        return table + offset if offset else 0

    def _read(self, kind: str, position: int) -> int:
        if position < 0:  # Python would count from the end
            raise IndexError("an offset leads out of the file")
        value: int = struct.unpack_from(kind, self._blob, position)[0]
        return value
