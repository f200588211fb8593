"""Snapshots that must be refused. Each has a digest that is right: a forger can do that."""

import json

import msgspec
import numpy as np
from safetensors.numpy import load, save

from edge_cl.sealed import digest


def taken_apart(data):
    """Header as a dict, and the tensors."""
    length = int.from_bytes(data[:8], "little")
    preamble = json.loads(data[8 : 8 + length])
    return json.loads(preamble["__metadata__"]["edge_cl"][65:]), dict(load(data))


def put_together(header, tensors):
    text = msgspec.json.encode(header, order="sorted").decode()
    return save(tensors, {"edge_cl": f"{digest(text, tensors)} {text}"})


def forgeries(data):
    """Yield (what is wrong, bytes)."""
    header, tensors = taken_apart(data)
    n, Q, G = (tensors[name] for name in ("n", "Q", "G"))
    undo_q, undo_y = tensors["undo_q"], tensors["undo_y"]

    def at(a, value, i=0):
        b = a.copy()
        b.flat[i] = value
        return b

    changed = {
        "no n": {"n": None},
        "no Q": {"Q": None},
        "no undo": {"undo_q": None},
        "a stranger": {"stranger": np.zeros(1)},
        "n in floats": {"n": n.astype(float)},
        "n negative": {"n": at(n, -1)},
        "n huge": {"n": at(n, 1 << 62)},
        "n overflowing": {"n": np.full_like(n, 1 << 62)},
        "n of another k": {"n": np.append(n, 0)},
        "n a matrix": {"n": n[None]},
        "n all zero": {"n": np.zeros_like(n)},
        "Q not a number": {"Q": at(Q, np.nan)},
        "Q infinite": {"Q": at(Q, -np.inf)},
        "Q a fraction": {"Q": at(Q, 0.5)},
        "Q in float32": {"Q": Q.astype(np.float32)},
        "Q in one row": {"Q": Q.ravel()},
        "Q too large": {"Q": at(Q, 1e12)},
        "G a fraction": {"G": at(G, G[0] + 0.25)},
        "G not a number": {"G": at(G, np.nan)},
        "G zero": {"G": np.zeros_like(G)},
        "G negative": {"G": -G},
        "G indefinite": {"G": at(G, G[0] + G[2], 1)},
        "G short": {"G": G[:-1]},
        "G too large": {"G": at(G, 1e17)},
        "undo label too large": {"undo_y": at(undo_y, len(n))},
        "undo label negative": {"undo_y": at(undo_y, -1)},
        "undo label of a float": {"undo_y": undo_y.astype(float)},
        "undo off the grid": {"undo_q": at(undo_q, -32768)},
        "undo in floats": {"undo_q": undo_q.astype(float)},
        "undo of another d": {"undo_q": undo_q[:, :-1].copy()},
        "undo without labels": {"undo_y": undo_y[:-1]},
        "undo too long": {
            "undo_q": np.repeat(undo_q[:1], 257, axis=0),
            "undo_y": np.repeat(undo_y[:1], 257),
        },
    }
    for name in [name for name in tensors if name.startswith("head.")]:
        a = tensors[name]
        changed |= {
            f"{name} missing": {name: None},
            f"{name} not a number": {name: at(a, np.nan)},
            f"{name} in float32": {name: a.astype(np.float32)},
            f"{name} short": {name: a[:-1]},
            f"{name} of other classes": {name: np.concatenate([a, a], axis=-1)},
        }
    for what, change in changed.items():
        parts = {**tensors, **change}
        yield what, put_together(header, {k: v for k, v in parts.items() if v is not None})

    for key, values in {
        "format_version": (0, 1, 3, "2", None),
        "bundle_name": (None, 1),
        "encoder_sha256": ("0" * 64, None),
        "d": (header["d"] + 1, 0, -1, "3"),
        "scale": (header["scale"] * 2, 0, -1.0, None),
        "map": ({"type": "fourier"}, {"type": "l2"}, {}, None, {"type": "random-relu", "m": 7}),
        "head": ({"type": "svm"}, {"type": "ridge", "ridge": -1.0}, {}, None)
        + ({"type": "lda", "shrinkage": 7.0}, {"type": "ncm", "metric": "manhattan"}),
        "labels": ([], ["a", "a", "b"], ["a\nb", "b", "c"], ["", "b", "c"], [1, 2, 3], "abc")
        + (["a", "b", "c", "d"], ["a", "b", "x" * 201]),
        "saturated": (-1, 10**9, 0.5, None),
        "surprise": (1,),
    }.items():
        for value in values:
            yield f"{key} = {value!r}"[:60], put_together({**header, key: value}, tensors)
    yield (
        "no labels at all",
        put_together({k: v for k, v in header.items() if k != "labels"}, tensors),
    )
