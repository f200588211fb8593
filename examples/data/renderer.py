"""A small z-buffer renderer: perspective camera, one lamp, sky light, textures, transparency.

The object stands on a turntable in the origin and the camera looks at it from above by `pitch`.
Colour of a surface point with albedo a, unit normal n, lamp direction l, half vector h:

    a · (ground + (sky - ground)·(1 + n_y)/2 + lamp·max(0, n·l)) + lamp·s·max(0, n·h)^24

Opaque triangles are drawn first. Transparent ones follow from back to front and are mixed in.
No OpenGL is needed, and the same input gives the same pixels on every run.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from wavefront import FloatArray, IntArray, Mesh

FIELD_OF_VIEW_DEG = 35.0
SHININESS = 24
HIGHLIGHT = 0.35
OPAQUE = 0.98
"""A material with at least this opacity is drawn as opaque."""


class Light(NamedTuple):
    """Light of a scene; every colour is (3,) float64.

    Parameters
    ----------
    direction : (3,) float64, from the object towards the lamp, any length.
    lamp : colour of the lamp.
    sky : colour of the light that comes from above.
    ground : colour of the light that comes from below.
    """

    direction: FloatArray
    lamp: FloatArray
    sky: FloatArray
    ground: FloatArray


class Framing(NamedTuple):
    """Where the picture of an object lies: `pixel = centre + focal · point / depth`."""

    focal: float
    centre_x: float
    centre_y: float


def place_upright(mesh: Mesh, rotation: tuple[float, ...] | None) -> Mesh:
    """Turn a model as its catalogue says, and fit it into the unit sphere around the origin."""
    positions, normals = mesh.positions, mesh.normals
    if rotation is not None:
        turn = np.array(rotation).reshape(3, 3)
        positions, normals = positions @ turn.T, normals @ turn.T
    low, high = positions.min(axis=(0, 1)), positions.max(axis=(0, 1))
    positions = positions - (low + high) / 2
    positions = positions / np.linalg.norm(positions, axis=2).max()
    return mesh._replace(positions=positions, normals=normals)


def frame_object(mesh: Mesh, yaw: float, pitch: float, size: int, fill: float) -> Framing:
    """Choose the framing that centres an object and lets it fill the picture.

    Parameters
    ----------
    mesh : from `place_upright`.
    yaw, pitch : radians, turn of the turntable and height of the camera.
    size : side of the picture in pixels.
    fill : longer side of the object's picture as a fraction of `size`.
    """
    camera = _rotate_about_x(pitch) @ _rotate_about_y(yaw)
    points, depth = _to_camera(mesh.positions @ camera.T)
    flat = (points[..., :2] / depth[..., None]).reshape(-1, 2)
    low, high = flat.min(axis=0), flat.max(axis=0)
    focal = fill * size / float((high - low).max())
    middle = (low + high) / 2
    return Framing(
        focal=focal,
        centre_x=size / 2 - focal * float(middle[0]),
        centre_y=size / 2 + focal * float(middle[1]),
    )


def render(
    mesh: Mesh, yaw: float, pitch: float, size: int, framing: Framing, light: Light
) -> FloatArray:
    """Draw one view of an object.

    Returns
    -------
    (size, size, 4) float64, premultiplied RGB and coverage; colours may exceed 1.
    """
    turntable, tilt = _rotate_about_y(yaw), _rotate_about_x(pitch)
    turned = mesh.positions @ turntable.T
    points, depth = _to_camera(turned @ tilt.T)
    screen = np.empty_like(points)
    screen[..., 0] = framing.centre_x + framing.focal * points[..., 0] / depth
    screen[..., 1] = framing.centre_y - framing.focal * points[..., 1] / depth
    screen[..., 2] = 1 / depth

    opacity = mesh.opacity[mesh.materials]
    farthest_first = np.argsort(-depth.mean(axis=1), kind="stable")
    opaque = np.flatnonzero(opacity >= OPAQUE)
    order = np.concatenate([opaque, farthest_first[opacity[farthest_first] < OPAQUE]])

    direction = light.direction / np.linalg.norm(light.direction)
    towards_camera = np.ascontiguousarray(tilt[2])
    image = np.zeros((size, size, 4))
    nearness = np.zeros((size, size))
    _draw_triangles(
        order,
        screen,
        mesh._replace(normals=mesh.normals @ turntable.T),
        light._replace(direction=direction),
        towards_camera,
        image,
        nearness,
    )
    return image


def _rotate_about_y(angle: float) -> FloatArray:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _rotate_about_x(angle: float) -> FloatArray:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _to_camera(points: FloatArray) -> tuple[FloatArray, FloatArray]:
    distance = 1 / math.sin(math.radians(FIELD_OF_VIEW_DEG / 2))
    return points, distance - points[..., 2]


@njit(cache=True)
def _dot(left: FloatArray, right: FloatArray) -> float:
    """Scalar product of two vectors of three, inlined by the compiler."""
    product: float = left[0] * right[0] + left[1] * right[1] + left[2] * right[2]
    return product


@njit(cache=True)
def _draw_triangles(
    order: IntArray,
    screen: FloatArray,
    mesh: Mesh,
    light: Light,
    towards_camera: FloatArray,
    image: FloatArray,
    nearness: FloatArray,
) -> None:
    """Draw triangles in the given order into `image` and `nearness` (1 / depth, 0 = empty)."""
    height, width = nearness.shape
    weights = np.empty(3)
    colour = np.empty(4)
    normal = np.empty(3)
    half = light.direction + towards_camera
    half /= math.sqrt(_dot(half, half)) + 1e-12
    for triangle in order:
        (xa, ya, _), (xb, yb, _), (xc, yc, _) = screen[triangle]
        area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
        if abs(area) < 1e-9:
            continue
        left = max(0, math.floor(min(xa, xb, xc)))
        right = min(width - 1, math.ceil(max(xa, xb, xc)))
        top = max(0, math.floor(min(ya, yb, yc)))
        bottom = min(height - 1, math.ceil(max(ya, yb, yc)))
        opaque = mesh.opacity[mesh.materials[triangle]] >= OPAQUE
        for row in range(top, bottom + 1):
            for column in range(left, right + 1):
                x, y = column + 0.5, row + 0.5
                weights[0] = ((xb - x) * (yc - y) - (xc - x) * (yb - y)) / area
                weights[1] = ((xc - x) * (ya - y) - (xa - x) * (yc - y)) / area
                weights[2] = 1 - weights[0] - weights[1]
                if min(weights[0], weights[1], weights[2]) < 0:
                    continue
                near = _dot(weights, screen[triangle, :, 2])
                if near <= nearness[row, column]:
                    continue
                for corner in range(3):  # perspective: weights on the object, not on the screen
                    weights[corner] *= screen[triangle, corner, 2] / near
                _surface_colour(mesh, triangle, weights, colour)
                if colour[3] < (0.5 if opaque else 0.02):
                    continue
                if opaque:
                    colour[3] = 1.0
                    nearness[row, column] = near
                for axis in range(3):
                    normal[axis] = _dot(weights, mesh.normals[triangle, :, axis])
                length = math.sqrt(_dot(normal, normal)) + 1e-12
                if _dot(normal, towards_camera) < 0:  # both sides of a surface are painted
                    length = -length
                for axis in range(3):
                    normal[axis] /= length
                specular = mesh.specular[mesh.materials[triangle]]
                _apply_light(light, normal, half, specular, colour)
                for channel in range(4):
                    below = image[row, column, channel] * (1 - colour[3])
                    image[row, column, channel] = below + colour[channel]


@njit(cache=True)
def _surface_colour(mesh: Mesh, triangle: int, weights: FloatArray, colour: FloatArray) -> None:
    """Write albedo and opacity at a point of a triangle, texture included, to `colour` (4,)."""
    material = mesh.materials[triangle]
    colour[:3] = mesh.diffuse[material]
    colour[3] = mesh.opacity[material]
    start = mesh.texture_starts[material]
    if start < 0:
        return
    rows, columns = mesh.texture_shapes[material]
    u = _dot(weights, mesh.texture_coordinates[triangle, :, 0])
    v = _dot(weights, mesh.texture_coordinates[triangle, :, 1])
    x = (u - math.floor(u)) * columns - 0.5
    y = (1 - (v - math.floor(v))) * rows - 0.5
    column, row = math.floor(x), math.floor(y)
    across, down = x - column, y - row
    for channel in range(4):
        value = 0.0
        for i in range(2):
            for j in range(2):
                share = (down if i else 1 - down) * (across if j else 1 - across)
                texel = start + (row + i) % rows * columns + (column + j) % columns
                value += share * mesh.texels[texel, channel]
        colour[channel] *= value


@njit(cache=True)
def _apply_light(
    light: Light, normal: FloatArray, half: FloatArray, specular: float, colour: FloatArray
) -> None:
    """Turn albedo and opacity into premultiplied reflected light, in place."""
    facing = max(0.0, _dot(normal, light.direction))
    upward = (normal[1] + 1) / 2
    glint = HIGHLIGHT * specular * max(0.0, _dot(normal, half)) ** SHININESS
    for channel in range(3):
        ambient = light.ground[channel]
        ambient += (light.sky[channel] - light.ground[channel]) * upward
        shade = ambient + light.lamp[channel] * facing
        lit = colour[channel] * shade + light.lamp[channel] * glint
        colour[channel] = lit * colour[3]
