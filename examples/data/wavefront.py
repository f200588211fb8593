"""Load a Wavefront OBJ model with its materials and textures from inside a ZIP archive.

Every polygon is cut into a fan of triangles, and every triangle gets its own three corners, so
that the renderer needs no index arrays. All textures lie behind one another in one array.
"""

import io
import posixpath
import zipfile
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
from PIL import Image

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

TEXTURE_SIZE = 256
"""Longer side of a texture after loading, in pixels."""


class Mesh(NamedTuple):
    """Triangles with materials; a named tuple, because Numba can take it apart.

    Parameters
    ----------
    positions : (t, 3, 3) float64, corners of t triangles, y upwards.
    normals : (t, 3, 3) float64, unit normals at the corners.
    texture_coordinates : (t, 3, 2) float64, unbounded: textures repeat.
    materials : (t,) int64, row of the material arrays below.
    diffuse : (m, 3) float64, colour of m materials, 0 to 1; white where there is a texture.
    opacity : (m,) float64, 0 to 1.
    specular : (m,) float64, 0 to 1.
    texture_starts : (m,) int64, first row in `texels`, or -1 for a material without texture.
    texture_shapes : (m, 2) int64, height and width in texels.
    texels : (p, 4) float64, RGBA of all textures, 0 to 1.
    """

    positions: FloatArray
    normals: FloatArray
    texture_coordinates: FloatArray
    materials: IntArray
    diffuse: FloatArray
    opacity: FloatArray
    specular: FloatArray
    texture_starts: IntArray
    texture_shapes: IntArray
    texels: FloatArray


@dataclass(slots=True)
class Material:
    """What we use of an MTL entry."""

    diffuse: tuple[float, ...] = (0.7, 0.7, 0.7)
    opacity: float = 1.0
    specular: float = 0.0
    texture: FloatArray | None = None


@dataclass(slots=True)
class ObjFile:
    """The statements of an OBJ file: points, and triangles that refer to them.

    A corner is (position, texture coordinate, normal), counted from 0; -1 means "none".
    """

    positions: list[list[float]] = field(default_factory=list)
    texture_coordinates: list[list[float]] = field(default_factory=list)
    normals: list[list[float]] = field(default_factory=list)
    triangles: list[tuple[tuple[int, int, int], ...]] = field(default_factory=list)
    triangle_materials: list[int] = field(default_factory=list)
    material_names: list[str] = field(default_factory=list)
    material_libraries: list[str] = field(default_factory=list)


class ModelArchive:
    """A ZIP archive whose members are found whatever the case of their names."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._names = {name.lower(): name for name in archive.namelist()}

    def read(self, path: str) -> bytes | None:
        """Return the bytes of a member, or None if there is no such member."""
        name = self._names.get(path.lstrip("/").lower())
        return None if name is None else self._archive.read(name)


def load_mesh(archive: ModelArchive, model_path: str) -> Mesh:
    """Load one model.

    Raises
    ------
    ValueError
        If the archive has no such model, or the model has no triangles.
    """
    path = unquote(model_path)
    source = archive.read(path)
    if source is None:
        raise ValueError(f"expected a model in the archive, found none at {path}")
    parsed = _parse_obj(source.decode("latin-1"))
    if not parsed.triangles:
        raise ValueError(f"expected triangles, got none in {path}")
    folder = posixpath.dirname(path)
    library: dict[str, Material] = {}
    for name in parsed.material_libraries:
        library |= _parse_materials(archive, posixpath.join(folder, name))
    materials = [library.get(name, Material()) for name in parsed.material_names]
    return _assemble(parsed, materials or [Material()])


def _parse_obj(text: str) -> ObjFile:
    parsed = ObjFile()
    material = 0
    for line in text.replace("\\\n", " ").splitlines():
        keyword, _, rest = line.strip().partition(" ")
        if keyword == "v":
            parsed.positions.append([float(word) for word in rest.split()[:3]])
        elif keyword == "vt":
            parsed.texture_coordinates.append([float(word) for word in [*rest.split(), "0"][:2]])
        elif keyword == "vn":
            parsed.normals.append([float(word) for word in rest.split()[:3]])
        elif keyword == "f":
            corners = [_parse_corner(word, parsed) for word in rest.split()]
            for second, third in pairwise(corners[1:]):
                parsed.triangles.append((corners[0], second, third))
                parsed.triangle_materials.append(material)
        elif keyword == "usemtl":
            if rest.strip() not in parsed.material_names:
                parsed.material_names.append(rest.strip())
            material = parsed.material_names.index(rest.strip())
        elif keyword == "mtllib":
            parsed.material_libraries.append(rest.strip())
    return parsed


def _parse_corner(word: str, parsed: ObjFile) -> tuple[int, int, int]:
    counts = (len(parsed.positions), len(parsed.texture_coordinates), len(parsed.normals))
    numbers = [int(number or 0) for number in [*word.split("/"), "", ""][:3]]
    position, texture_coordinate, normal = (
        number - 1 if number > 0 else (count + number if number < 0 else -1)
        for number, count in zip(numbers, counts, strict=True)
    )
    return position, texture_coordinate, normal


def _parse_materials(archive: ModelArchive, path: str) -> dict[str, Material]:
    materials: dict[str, Material] = {}
    current = Material()
    for line in (archive.read(path) or b"").decode("latin-1").splitlines():
        keyword, *words = line.split() or [""]
        match keyword.lower():
            case "newmtl":
                current = materials[" ".join(words)] = Material()
            case "kd" if len(words) >= 3:
                current.diffuse = tuple(float(word) for word in words[:3])
            case "ks" if len(words) >= 3:
                current.specular = sum(float(word) for word in words[:3]) / 3
            case "d":
                current.opacity = float(words[-1])
            case "map_kd":
                texture_path = words[-1].replace("\\", "/")
                current.texture = _load_texture(
                    archive, posixpath.join(posixpath.dirname(path), texture_path)
                )
    return materials


def _load_texture(archive: ModelArchive, path: str) -> FloatArray | None:
    data = archive.read(path)
    if data is None:
        return None
    image = Image.open(io.BytesIO(data)).convert("RGBA")
    image.thumbnail((TEXTURE_SIZE, TEXTURE_SIZE), Image.Resampling.BOX)
    return np.asarray(image, np.float64) / 255


def _assemble(parsed: ObjFile, materials: list[Material]) -> Mesh:
    corners = np.array(parsed.triangles, np.int64)
    positions = np.array(parsed.positions, np.float64)[corners[:, :, 0]]
    texture_coordinates = np.array([*parsed.texture_coordinates, [0, 0]], np.float64)
    normals = np.array([*parsed.normals, [0, 0, 0]], np.float64)[corners[:, :, 2]]

    flat = np.cross(positions[:, 1] - positions[:, 0], positions[:, 2] - positions[:, 0])
    absent = np.abs(normals).sum(axis=2) < 1e-6
    normals[absent] = np.repeat(flat[:, None], 3, axis=1)[absent]
    normals /= np.linalg.norm(normals, axis=2, keepdims=True) + 1e-12

    textures = [material.texture for material in materials]
    sizes = [0 if texture is None else texture.shape[0] * texture.shape[1] for texture in textures]
    starts = np.cumsum([0, *sizes[:-1]])
    texels = [texture.reshape(-1, 4) for texture in textures if texture is not None]
    return Mesh(
        positions=positions,
        normals=normals,
        texture_coordinates=texture_coordinates[corners[:, :, 1]],
        materials=np.array(parsed.triangle_materials, np.int64),
        diffuse=np.array(
            [m.diffuse if m.texture is None else (1.0, 1.0, 1.0) for m in materials], np.float64
        ),
        opacity=np.array([material.opacity for material in materials], np.float64),
        specular=np.array([material.specular for material in materials], np.float64),
        texture_starts=np.where(np.array(sizes) > 0, starts, -1).astype(np.int64),
        texture_shapes=np.array(
            [(0, 0) if texture is None else texture.shape[:2] for texture in textures], np.int64
        ),
        texels=np.concatenate([*texels, np.zeros((1, 4))]),
    )
