"""The eight sessions of the SH3D stream: where, in what light, through which camera.

The first six are for learning and the last two, unlike all others, are for testing only.
Backgrounds are generated; they carry no licence but that of this repository.
"""

from __future__ import annotations

import numpy as np
from scenery import Session, carpet, foliage, fractal_noise, lawn, paper, wood

from edge_cl.arrays import F64

Generator = np.random.Generator


def sky(size: int, rng: Generator) -> F64:
    """Return a clear sky, paler towards the horizon."""
    height = np.linspace(0, 1, size)[:, None, None] + 0 * np.ones((1, size, 1))
    zenith = rng.uniform([0.3, 0.5, 0.75], [0.45, 0.65, 0.95])
    return np.asarray(zenith + (np.array([0.9, 0.85, 0.75]) - zenith) * height)


def sand(size: int, rng: Generator) -> F64:
    """Return wind ripples in sand."""
    down = np.arange(size)[:, None] / size
    bend = 0.05 * fractal_noise(size, rng, cells=(2, 2), octaves=3)
    ripple = np.sin(2 * np.pi * rng.uniform(10, 18) * (down + bend))
    grain = fractal_noise(size, rng, cells=(64, 64), octaves=2)
    return np.asarray((1 + 0.1 * ripple + 0.06 * grain)[..., None] * [0.8, 0.64, 0.43])


def slats(size: int, rng: Generator) -> F64:
    """Return a window behind half-closed blinds."""
    position = np.arange(size) * int(rng.integers(14, 22)) / size % 1
    shade = np.where(position < rng.uniform(0.25, 0.45), 0.95, 0.28 + 0.25 * position)
    glow = 1 + 0.15 * fractal_noise(size, rng, cells=(1, 3), octaves=2)
    return np.asarray((shade[:, None] * glow)[..., None] * rng.uniform(0.8, 1.0, 3))


def petals(size: int, rng: Generator) -> F64:
    """Return bright round blossoms in front of leaves, meant to be out of focus."""
    picture = foliage(size, rng)
    y, x = np.mgrid[:size, :size] / size
    colours = rng.uniform([0.6, 0.1, 0.1], [1.0, 0.8, 0.7], (3, 3))
    for _ in range(int(rng.integers(12, 24))):
        row, column, radius = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.04, 0.13)
        distance = np.hypot(y - row, x - column) / radius
        picture[distance < 1] = colours[rng.integers(3)] * rng.uniform(0.8, 1.1)
        picture[distance < 0.3] = [0.85, 0.7, 0.15]
    return picture


def clouds(size: int, rng: Generator) -> F64:
    """Return heavy clouds."""
    weight = fractal_noise(size, rng, cells=(3, 2), octaves=6)[..., None]
    return np.asarray((0.42 + 0.13 * weight) * np.array([0.85, 0.95, 1.1]))


def water(size: int, rng: Generator) -> F64:
    """Return a rough, dark sea."""
    wave = fractal_noise(size, rng, cells=(20, 4), octaves=4)[..., None]
    foam = np.clip(wave - 1.6, 0, 1)
    return np.asarray((0.3 + 0.09 * wave) * np.array([0.5, 0.85, 1.0]) + 0.5 * foam)


def paint(size: int, rng: Generator) -> F64:
    """Return strokes of saturated colours."""
    hue = np.stack([fractal_noise(size, rng, cells=(3, 5), octaves=4) for _ in range(3)], axis=2)
    steps = np.round(0.5 + 0.25 * hue, 1)
    bristles = fractal_noise(size, rng, cells=(8, 90), octaves=1)[..., None]
    return np.asarray(np.clip(steps, 0, 1) * (1 + 0.1 * bristles))


SESSIONS = (
    Session(
        name="studio",
        is_test=False,
        wall=paper,
        floor=paper,
        lamp_direction=(0.5, 0.9, 0.5),
        lamp=(0.65, 0.65, 0.65),
        sky=(0.5, 0.5, 0.5),
        ground=(0.35, 0.35, 0.35),
        pitch=(0.15, 0.45),
        fill=(0.75, 0.92),
        wall_blur=0,
        blur=0,
        noise=2,
        white_balance=(1.0, 1.0, 1.0),
    ),
    Session(
        name="workshop",
        is_test=False,
        wall=wood,
        floor=wood,
        lamp_direction=(-0.6, 0.7, 0.4),
        lamp=(0.75, 0.62, 0.45),
        sky=(0.42, 0.38, 0.33),
        ground=(0.28, 0.22, 0.17),
        pitch=(0.3, 0.6),
        fill=(0.68, 0.88),
        wall_blur=1.5,
        blur=0.3,
        noise=4,
        white_balance=(1.04, 1.0, 0.93),
    ),
    Session(
        name="garden",
        is_test=False,
        wall=foliage,
        floor=lawn,
        lamp_direction=(0.3, 1.0, 0.2),
        lamp=(0.85, 0.85, 0.8),
        sky=(0.5, 0.52, 0.55),
        ground=(0.25, 0.28, 0.2),
        pitch=(0.1, 0.35),
        fill=(0.62, 0.85),
        wall_blur=4,
        blur=0,
        noise=3,
        white_balance=(1.0, 1.02, 1.0),
    ),
    Session(
        name="dune",
        is_test=False,
        wall=sky,
        floor=sand,
        lamp_direction=(0.9, 0.4, 0.2),
        lamp=(0.95, 0.75, 0.5),
        sky=(0.38, 0.36, 0.4),
        ground=(0.3, 0.22, 0.15),
        pitch=(0.1, 0.3),
        fill=(0.68, 0.88),
        wall_blur=0,
        blur=0.3,
        noise=3,
        white_balance=(1.05, 0.98, 0.88),
    ),
    Session(
        name="blinds",
        is_test=False,
        wall=slats,
        floor=carpet,
        lamp_direction=(-0.9, 0.3, 0.3),
        lamp=(0.5, 0.5, 0.55),
        sky=(0.22, 0.22, 0.25),
        ground=(0.15, 0.15, 0.17),
        pitch=(0.0, 0.3),
        fill=(0.62, 0.88),
        wall_blur=1.5,
        blur=0.4,
        noise=9,
        white_balance=(0.9, 0.95, 1.08),
    ),
    Session(
        name="flowers",
        is_test=False,
        wall=petals,
        floor=lawn,
        lamp_direction=(0.1, 0.9, 0.6),
        lamp=(0.7, 0.7, 0.68),
        sky=(0.5, 0.5, 0.48),
        ground=(0.3, 0.33, 0.28),
        pitch=(0.4, 0.8),
        fill=(0.7, 0.92),
        wall_blur=3,
        blur=0,
        noise=3,
        white_balance=(1.0, 1.0, 1.0),
    ),
    Session(
        name="storm",
        is_test=True,
        wall=clouds,
        floor=water,
        lamp_direction=(-0.3, 0.6, -0.5),
        lamp=(0.35, 0.42, 0.55),
        sky=(0.3, 0.33, 0.4),
        ground=(0.18, 0.2, 0.25),
        pitch=(0.05, 0.5),
        fill=(0.55, 0.85),
        wall_blur=2.5,
        blur=0.5,
        noise=10,
        white_balance=(0.85, 0.95, 1.12),
    ),
    Session(
        name="mural",
        is_test=True,
        wall=paint,
        floor=paint,
        lamp_direction=(0.7, 0.2, 0.7),
        lamp=(0.9, 0.6, 0.55),
        sky=(0.3, 0.28, 0.35),
        ground=(0.3, 0.2, 0.3),
        pitch=(0.2, 0.7),
        fill=(0.58, 0.95),
        wall_blur=0.7,
        blur=0.3,
        noise=7,
        white_balance=(1.1, 0.92, 0.95),
    ),
)
