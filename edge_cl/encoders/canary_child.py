"""The child that tries an encoder: see `canary`, which starts it and sets its limits."""

from __future__ import annotations

import os
import sys

import numpy as np

from edge_cl.encoders import load_network
from edge_cl.encoders.canary_message import Answer, read_task, written_answer
from edge_cl.errors import EdgeCLError


def main() -> None:
    """Read a task from stdin, and write the answer to stdout."""
    answer_to = os.dup(1)
    os.dup2(2, 1)  # a library that prints must not do so into the answer
    task, encoder, inputs = read_task(sys.stdin.buffer.read())
    try:
        network = load_network(task.spec, encoder, task.threads, task.route)
        # one at a time: the limits are for an encoder, not for a batch
        rows = [network.run(inputs[i : i + 1]) for i in range(len(inputs))]
        features = np.ascontiguousarray(np.concatenate(rows), dtype=np.float32)
        message = written_answer(Answer(shape=features.shape), features)
    except EdgeCLError as error:
        message = written_answer(Answer(error=str(error), hint=error.hint))
    with open(answer_to, "wb") as stream:  # noqa: PTH123
        stream.write(message)
    # Nothing is left to do, and libraries that crash while they are unloaded prove nothing
    os._exit(0)
