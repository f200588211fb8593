"""Reading arrays out of a pickle without unpickling: nothing in the file is ever called.

A pickle is a program for a stack machine. This one knows the few instructions with which
NumPy's arrays, lists, tuples, texts and dictionaries are written, and takes the two functions
that arrays are made with as marks on the stack, not as functions. Everything else is refused.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edge_cl.errors import ExportError

__all__ = ["read_pickled_arrays"]

_MARK = object()
_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_ARRAY = [f"{module} _reconstruct" for module in _MODULES]
_TYPES = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"}
_PUSH = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


class _Blank:
    """An array or a dtype that BUILD has yet to fill."""

    def __init__(self, kind: str) -> None:
        self.kind = kind  # "array", or the name of a type
        self.value: Any = None


def read_pickled_arrays(path: Path) -> Any:
    """Return the dictionary, list or array of arrays that the pickle at `path` describes.

    Raises
    ------
    ExportError : it is damaged, or holds anything else than arrays.
    """
    try:
        return _filled(_run(pickletools.genops(path.read_bytes())))
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OSError) as error:
        raise ExportError(f"{path.name} is no pickle of arrays: {error}") from error


def _run(operations: Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]]) -> Any:
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for code, argument, _ in operations:
        name = code.name
        if name in ("PROTO", "FRAME"):
            continue
        if name == "STOP":
            return stack.pop()
        if name == "MARK":
            stack.append(_MARK)
        elif name in _PUSH:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "GLOBAL":
            stack.append(_mark_of(argument))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name in ("EMPTY_LIST", "EMPTY_DICT", "EMPTY_TUPLE"):
            stack.append({"EMPTY_LIST": [], "EMPTY_DICT": {}, "EMPTY_TUPLE": ()}[name])
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            stack.append(tuple(_popped(stack, int(name[-1]))))
        elif name == "TUPLE":
            stack.append(tuple(_to_mark(stack)))
        elif name in ("APPEND", "APPENDS"):
            items = _popped(stack, 1) if name == "APPEND" else _to_mark(stack)
            stack[-1].extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = _popped(stack, 2) if name == "SETITEM" else _to_mark(stack)
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name == "REDUCE":
            function, arguments = _popped(stack, 2)
            stack.append(_Blank("array" if function == "array" else _type_named(arguments)))
        elif name == "BUILD":
            state = stack.pop()
            _build(stack[-1], state)
        else:
            raise ValueError(f"instruction {name}")
    raise ValueError("it has no end")


def _mark_of(function: str) -> str:
    if function in _ARRAY:
        return "array"
    if function == "numpy dtype":
        return "dtype"
    if function == "numpy ndarray":  # an argument of _reconstruct
        return "ndarray"
    raise ValueError(f"it calls {function.replace(' ', '.')}")


def _type_named(arguments: tuple[Any, ...]) -> str:
    if arguments[0] not in _TYPES:
        raise ValueError(f"type {arguments[0]!r}")
    return str(arguments[0])


def _build(blank: _Blank, state: tuple[Any, ...]) -> None:
    if blank.kind == "array":
        _, shape, kind, columns_first, data = state
        array = np.frombuffer(data, dtype=kind.value)
        blank.value = array.reshape(shape, order="F" if columns_first else "C")
    else:
        blank.value = np.dtype(blank.kind).newbyteorder(">" if state[1] == ">" else "<")


def _popped(stack: list[Any], count: int) -> list[Any]:
    if len(stack) < count:
        raise ValueError("its stack is empty")
    items = stack[-count:]
    del stack[-count:]
    return items


def _to_mark(stack: list[Any]) -> list[Any]:
    at = max(i for i, item in enumerate(stack) if item is _MARK)
    items = stack[at + 1 :]
    del stack[at:]
    return items


def _filled(item: Any) -> Any:
    """Return the same with every blank replaced by its array."""
    if isinstance(item, _Blank):
        if not isinstance(item.value, np.ndarray):
            raise ValueError("an array without content")
        return item.value
    if isinstance(item, dict):
        return {key: _filled(value) for key, value in item.items()}
    if isinstance(item, list | tuple):
        return [_filled(value) for value in item]
    raise ValueError(f"{type(item).__name__} where an array was expected")
