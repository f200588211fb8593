"""Procedural scenes: walls and floors from noise, and what a cheap camera does to a picture.

Nothing here is a photograph, so the backgrounds carry no licence but that of this repository.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter
from renderer import Light
from wavefront import FloatArray

Texture = Callable[[int, np.random.Generator], FloatArray]
"""Makes a (size, size, 3) picture, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One place and time at which the objects are seen.

    Parameters
    ----------
    name : folder in the archive.
    is_test : never to be learned from.
    wall, floor : textures behind and below the object.
    lamp_direction : from the object towards the lamp.
    lamp, sky, ground : colours of the light, see `renderer.Light`.
    pitch : range of the camera's height, in radians.
    fill : range of the object's size, as a fraction of the picture.
    wall_blur : how much the wall is out of focus, in pixels of the large picture.
    blur : blur of the whole picture, in pixels of the small picture.
    noise : standard deviation of the sensor noise, in grey levels.
    white_balance : gain of red, green and blue.
    """

    name: str
    is_test: bool
    wall: Texture
    floor: Texture
    lamp_direction: tuple[float, float, float]
    lamp: tuple[float, float, float]
    sky: tuple[float, float, float]
    ground: tuple[float, float, float]
    pitch: tuple[float, float]
    fill: tuple[float, float]
    wall_blur: float
    blur: float
    noise: float
    white_balance: tuple[float, float, float]

    def light(self) -> Light:
        """Return the light as the renderer wants it."""
        return Light(
            direction=np.array(self.lamp_direction),
            lamp=np.array(self.lamp),
            sky=np.array(self.sky),
            ground=np.array(self.ground),
        )


def fractal_noise(
    size: int, rng: np.random.Generator, *, cells: tuple[int, int] = (4, 4), octaves: int = 5
) -> FloatArray:
    """Sum smooth noise of ever finer grain, each octave at 0.6 of the one before.

    Parameters
    ----------
    size : side of the picture.
    rng : source of the noise.
    cells : rows and columns of the coarsest grid; unequal numbers stretch the grain.
    octaves : number of grids.

    Returns
    -------
    (size, size) float64, mean 0, standard deviation 1.
    """
    total = np.zeros((size, size))
    for octave in range(octaves):
        rows, columns = (min(size, count << octave) for count in cells)
        grid = Image.fromarray(rng.standard_normal((rows, columns)).astype(np.float32))
        smooth = grid.resize((size, size), Image.Resampling.BICUBIC)
        total += 0.6**octave * np.asarray(smooth, np.float64)
    return np.asarray((total - total.mean()) / total.std())


def paper(size: int, rng: np.random.Generator) -> FloatArray:
    """Return a photographer's paper roll: one pale colour, brighter towards one side."""
    colour = rng.uniform(0.72, 0.95, 3)
    slope = rng.uniform(-0.12, 0.12, 2)
    ramp = np.linspace(-1, 1, size)
    shade = 1 + slope[0] * ramp[:, None] + slope[1] * ramp
    return np.asarray(colour * shade[..., None])


def wood(size: int, rng: np.random.Generator) -> FloatArray:
    """Return planks with grain along the rows."""
    tone = rng.uniform(0.75, 1.1)
    planks = int(rng.integers(3, 7))
    plank = np.arange(size) * planks // size
    brightness = rng.uniform(0.85, 1.1, planks)[plank]
    grain = fractal_noise(size, rng, cells=(24, 2), octaves=4)
    seam = np.where(np.diff(plank, prepend=-1) > 0, 0.55, 1.0)
    shade = tone * (brightness * seam)[:, None] * (1 + 0.11 * grain)
    return np.asarray(shade[..., None] * np.array([0.62, 0.42, 0.25]))


def tiles(size: int, rng: np.random.Generator) -> FloatArray:
    """Return square kitchen tiles of one colour with pale joints."""
    count = int(rng.integers(5, 9))
    colour = rng.uniform([0.55, 0.6, 0.6], [0.9, 0.9, 0.95])
    position = np.arange(size) * count / size
    tile = position.astype(int)
    glaze = rng.uniform(0.88, 1.05, (count, count))[tile[:, None], tile]
    joint = position % 1 < 0.07
    picture = (glaze * (1 + 0.03 * fractal_noise(size, rng)))[..., None] * colour
    picture[joint[:, None] | joint] = 0.86
    return np.asarray(picture)


def foliage(size: int, rng: np.random.Generator) -> FloatArray:
    """Return leaves and gaps of light, meant to be out of focus."""
    density = fractal_noise(size, rng, cells=(5, 5), octaves=5)[..., None]
    hue = fractal_noise(size, rng, cells=(3, 3), octaves=3)[..., None]
    leaf = np.array([0.22, 0.42, 0.13]) + hue * np.array([0.07, 0.04, 0.02])
    sky = np.array([0.85, 0.93, 0.95])
    gap = np.clip((density - 1.2) * 1.5, 0, 1)
    return np.asarray(leaf * (1 + 0.35 * density) * (1 - gap) + sky * gap)


def lawn(size: int, rng: np.random.Generator) -> FloatArray:
    """Return short grass."""
    blades = fractal_noise(size, rng, cells=(48, 64), octaves=3)[..., None]
    patches = fractal_noise(size, rng, cells=(3, 3), octaves=3)[..., None]
    return np.asarray((1 + 0.16 * blades + 0.1 * patches) * np.array([0.36, 0.52, 0.2]))


def brick(size: int, rng: np.random.Generator) -> FloatArray:
    """Return a brick wall in running bond."""
    courses = int(rng.integers(9, 14))
    row_position = np.arange(size) * courses / size
    course = row_position.astype(int)
    column_position = np.arange(size) * courses / (2.4 * size) + (course[:, None] % 2) / 2
    tone = rng.uniform(0.7, 1.15, (courses, courses))[course[:, None], column_position.astype(int)]
    mortar = (row_position % 1 < 0.13)[:, None] | (column_position % 1 < 0.055)
    picture = (tone * (1 + 0.12 * fractal_noise(size, rng)))[..., None] * [0.52, 0.27, 0.2]
    picture[mortar] = 0.5
    return np.asarray(picture)


def carpet(size: int, rng: np.random.Generator) -> FloatArray:
    """Return a dark woven carpet with stripes of two colours."""
    stripes = np.arange(size) * int(rng.integers(5, 10)) // size % 2
    colours = rng.uniform(0.12, 0.5, (2, 3))
    weave = fractal_noise(size, rng, cells=(64, 64), octaves=2)
    return np.asarray(colours[stripes][None] * (1 + 0.2 * weave[..., None]))


SESSIONS = (
    Session(
        name="studio",
        is_test=False,
        wall=paper,
        floor=paper,
        lamp_direction=(0.5, 0.9, 0.5),
        lamp=(0.6, 0.6, 0.6),
        sky=(0.55, 0.55, 0.55),
        ground=(0.4, 0.4, 0.4),
        pitch=(0.15, 0.45),
        fill=(0.78, 0.92),
        wall_blur=0,
        blur=0,
        noise=1.5,
        white_balance=(1.0, 1.0, 1.0),
    ),
    Session(
        name="kitchen",
        is_test=False,
        wall=tiles,
        floor=wood,
        lamp_direction=(-0.6, 0.7, 0.45),
        lamp=(0.8, 0.68, 0.5),
        sky=(0.45, 0.42, 0.37),
        ground=(0.32, 0.26, 0.2),
        pitch=(0.25, 0.55),
        fill=(0.7, 0.88),
        wall_blur=2,
        blur=0.3,
        noise=2.5,
        white_balance=(1.05, 1.0, 0.92),
    ),
    Session(
        name="garden",
        is_test=False,
        wall=foliage,
        floor=lawn,
        lamp_direction=(0.35, 1.0, 0.25),
        lamp=(0.85, 0.85, 0.78),
        sky=(0.5, 0.53, 0.56),
        ground=(0.28, 0.32, 0.22),
        pitch=(0.1, 0.35),
        fill=(0.68, 0.86),
        wall_blur=5,
        blur=0,
        noise=2.0,
        white_balance=(1.0, 1.02, 1.0),
    ),
    Session(
        name="evening",
        is_test=True,
        wall=brick,
        floor=carpet,
        lamp_direction=(0.9, 0.45, 0.35),
        lamp=(0.85, 0.66, 0.42),
        sky=(0.3, 0.3, 0.34),
        ground=(0.2, 0.18, 0.18),
        pitch=(0.05, 0.6),
        fill=(0.6, 0.85),
        wall_blur=1.5,
        blur=0.55,
        noise=5.0,
        white_balance=(1.06, 0.97, 0.88),
    ),
)


def build_backdrop(session: Session, size: int, rng: np.random.Generator) -> FloatArray:
    """Return a (size, size, 3) picture of a floor that runs back to a wall."""
    edge = int(size * rng.uniform(0.3, 0.55))
    wall = Image.fromarray(_to_bytes(session.wall(size, rng)))
    if session.wall_blur:
        wall = wall.filter(ImageFilter.GaussianBlur(session.wall_blur * rng.uniform(0.7, 1.3)))
    backdrop = np.asarray(wall, np.float64) / 255

    texture = session.floor(size, rng)
    nearness = np.linspace(0.35, 1.0, size - edge)  # 1 at the front, small at the wall
    across = (np.arange(size) - size / 2) / nearness[:, None] * 0.6 + rng.uniform(0, size)
    along = np.broadcast_to((0.35 * size / nearness)[:, None], across.shape)
    backdrop[edge:] = texture[along.astype(int) % size, across.astype(int) % size]
    backdrop[edge:] *= (0.75 + 0.25 * nearness)[:, None, None]
    return backdrop


def shake(backdrop: FloatArray, shift_x: int, shift_y: int) -> FloatArray:
    """Shift a backdrop by some pixels; the border is drawn out to fill the gap."""
    rows = np.clip(np.arange(backdrop.shape[0]) - shift_y, 0, backdrop.shape[0] - 1)
    columns = np.clip(np.arange(backdrop.shape[1]) - shift_x, 0, backdrop.shape[1] - 1)
    return backdrop[rows[:, None], columns]


def compose(drawing: FloatArray, backdrop: FloatArray) -> FloatArray:
    """Put a rendered object, with a soft shadow below it, in front of a backdrop.

    Parameters
    ----------
    drawing : (size, size, 4) float64, premultiplied, from `renderer.render`.
    backdrop : (size, size, 3) float64.
    """
    colour, coverage = drawing[..., :3], drawing[..., 3:]
    rows, columns = np.nonzero(drawing[..., 3])
    if len(rows):
        half_width = np.ptp(columns) / 2 + 4
        middle = (columns.min() + columns.max()) / 2
        y, x = np.mgrid[: len(drawing), : len(drawing)]
        across = (x - middle) / (0.9 * half_width)
        down = (y - rows.max() + 0.12 * half_width) / (0.28 * half_width + 4)
        shadow = np.exp(-1.6 * (across**2 + down**2))
        backdrop = backdrop * (1 - 0.5 * shadow[..., None])
    return np.clip(colour, 0, 1) + backdrop * (1 - coverage)


def photograph(
    scene: FloatArray, session: Session, size: int, rng: np.random.Generator
) -> Image.Image:
    """Take a picture of `size` pixels: exposure, white balance, blur and sensor noise."""
    exposure = rng.uniform(0.92, 1.08)
    picture = Image.fromarray(_to_bytes(scene * exposure * np.array(session.white_balance)))
    picture = picture.resize((size, size), Image.Resampling.BOX)
    if session.blur:
        picture = picture.filter(ImageFilter.GaussianBlur(session.blur))
    grain = session.noise * rng.standard_normal((size, size, 3))
    return Image.fromarray(_to_bytes((np.asarray(picture) + grain) / 255))


def _to_bytes(picture: FloatArray) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
