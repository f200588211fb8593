"""Film a model as a short turntable clip in one session."""

import io
import zipfile
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from furniture import Furniture
from PIL import Image
from renderer import frame_object, place_upright, render
from scenery import Session, build_backdrop, compose, photograph, shake
from wavefront import Mesh, ModelArchive, load_mesh

PICTURE_SIZE = 128
DRAWING_SIZE = 256
"""The object is drawn larger and scaled down, which smooths its edges."""

JPEG_QUALITY = 85

YAW_LIMIT = 1.1
"""A clip starts at most this far from the front of the object, in radians, unless said."""

TURN_STEP = (0.15, 0.35)
"""Range of the turn between two frames, in radians."""


def load_furniture(furniture: Furniture) -> Mesh:
    """Load the model of a catalogue entry, upright and in the unit sphere."""
    mesh = load_mesh(_open_archive(furniture.archive), furniture.model_path)
    return place_upright(mesh, furniture.rotation)


def film(
    mesh: Mesh,
    key: str,
    session: Session,
    *,
    frames: int,
    seed: int,
    yaw_limit: float = YAW_LIMIT,
) -> Iterator[Image.Image]:
    """Yield the frames of one clip.

    Every clip has a random stream of its own, made of seed, model and session, so that adding
    or removing a model leaves the pictures of all others as they were.
    """
    rng = np.random.default_rng([seed, zlib.crc32(key.encode()), zlib.crc32(session.name.encode())])
    yaw = rng.uniform(-yaw_limit, yaw_limit)
    step = rng.uniform(*TURN_STEP) * rng.choice([-1, 1])
    pitch = rng.uniform(*session.pitch)
    fill = rng.uniform(*session.fill)
    backdrop = build_backdrop(session, DRAWING_SIZE, rng)
    framing = frame_object(mesh, yaw, pitch, DRAWING_SIZE, fill)
    for frame in range(frames):
        shift_x, shift_y = rng.normal(0, 0.02 * DRAWING_SIZE, 2)
        moved = framing._replace(
            focal=framing.focal * rng.normal(1, 0.02),
            centre_x=framing.centre_x + shift_x,
            centre_y=framing.centre_y + shift_y,
        )
        tilt = pitch + rng.normal(0, 0.02)
        drawing = render(mesh, yaw + frame * step, tilt, DRAWING_SIZE, moved, session.light())
        shaken = shake(backdrop, round(shift_x), round(shift_y))
        yield photograph(compose(drawing, shaken), session, PICTURE_SIZE, rng)


def encode_jpeg(picture: Image.Image) -> bytes:
    """Return a picture as the bytes of a JPEG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return buffer.getvalue()


@cache
def _open_archive(path: Path) -> ModelArchive:
    return ModelArchive(zipfile.ZipFile(path))
