"""What a process and the child that tries an encoder say to each other, in bytes.

Both ways: the length of a JSON object in four bytes, the object, then raw bytes.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_cl.bundle import EncoderSpec
from edge_cl.encoders.route import ON_CPU, Route

__all__ = ["INSIDE", "Answer", "Task", "read_answer", "read_task", "written_answer", "written_task"]

INSIDE = "EDGE_CL_INSIDE_CANARY"  # set in the child's environment: it starts no child of its own


class Task(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An encoder to load, and inputs of this dtype and shape to run; their bytes follow."""

    spec: EncoderSpec
    threads: int
    route: Route = ON_CPU
    encoder_bytes: int
    dtype: str
    shape: tuple[int, ...]


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Features of this shape, as float32, follow; or what went wrong."""

    shape: tuple[int, ...] = ()
    error: str = ""
    hint: str = ""


def written_task(task: Task, encoder: bytes, inputs: NDArray[Any]) -> bytes:
    """Return the message that asks for a trial."""
    return _written(task, encoder, np.ascontiguousarray(inputs).tobytes())


def read_task(data: bytes) -> tuple[Task, bytes, NDArray[Any]]:
    """Return the task, the encoder's file, and the inputs."""
    text, rest = _split(data)
    task = msgspec.json.decode(text, type=Task)
    encoder = bytes(rest[: task.encoder_bytes])
    inputs = np.frombuffer(rest[task.encoder_bytes :], task.dtype).reshape(task.shape)
    return task, encoder, inputs


def written_answer(answer: Answer, features: NDArray[Any] | None = None) -> bytes:
    """Return the message that answers."""
    return _written(answer, b"" if features is None else features.tobytes())


def read_answer(data: bytes) -> tuple[Answer, NDArray[Any]]:
    """Return an answer and its features.

    Raises
    ------
    ValueError, msgspec.MsgspecError : it is none; a child may have written anything.
    """
    text, rest = _split(data)
    answer = msgspec.json.decode(text, type=Answer)
    if (
        len(rest) != 4 * math.prod(answer.shape) * bool(answer.shape)
        or min(answer.shape, default=0) < 0
    ):
        raise ValueError("the features do not have the shape that was told")
    features = np.frombuffer(rest, np.float32)
    return answer, features.reshape(answer.shape) if answer.shape else features


def _written(head: msgspec.Struct, *parts: bytes) -> bytes:
    text = msgspec.json.encode(head)
    return b"".join([len(text).to_bytes(4, "little"), text, *parts])


def _split(data: bytes) -> tuple[memoryview, memoryview]:
    size = int.from_bytes(data[:4], "little")
    if len(data) < 4 or size > len(data) - 4:
        raise ValueError("a message that is cut short")
    view = memoryview(data)
    return view[4 : 4 + size], view[4 + size :]
