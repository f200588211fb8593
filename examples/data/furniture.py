"""Read the catalogue of 3D models in the Debian package ``sweethome3d-furniture``.

The package holds five ``.sh3f`` libraries. Each is a ZIP with a Java properties file that lists
the models, the models themselves (Wavefront OBJ), and a licence that covers the whole library.
Models from Blend Swap also carry a licence text of their own that names title, author and page.
"""

import posixpath
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LIBRARY_FOLDER = Path("usr/share/sweethome3d/furniture")
PROPERTIES = "PluginFurnitureCatalog.properties"
MODEL_LICENCE = "BLENDSWAP_LICENSE.txt"

PROPERTY_LINE = re.compile(r"^(\w+)#(\d+)=(.*)$", re.MULTILINE)
MODEL_LICENCE_HEAD = re.compile(
    r'downloading "(?P<title>.*?)" by (?P<author>[^\n]+)\n.*?Downloaded from (?P<url>\S+)',
    re.DOTALL,
)
UNICODE_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """One ``.sh3f`` file: what its licence is and who must be named.

    Parameters
    ----------
    file_name : name of the file in the package.
    licence : SPDX identifier.
    licence_url : page of the licence text.
    notice : copyright notice that the licence asks us to keep.
    """

    file_name: str
    licence: str
    licence_url: str
    notice: str


LIBRARIES = (
    Library(
        file_name="BlendSwap-CC-0.sh3f",
        licence="CC0-1.0",
        licence_url="https://creativecommons.org/publicdomain/zero/1.0/",
        notice="2014 Emmanuel Puybaret / eTeks and contributors of Blend Swap",
    ),
    Library(
        file_name="BlendSwap-CC-BY.sh3f",
        licence="CC-BY-3.0",
        licence_url="https://creativecommons.org/licenses/by/3.0/",
        notice="the Blend Swap contributors named below, "
        "converted to OBJ by Emmanuel Puybaret / eTeks",
    ),
    Library(
        file_name="KatorLegaz.sh3f",
        licence="CC-BY-3.0-US",
        licence_url="https://creativecommons.org/licenses/by/3.0/us/",
        notice="2003-2008 Andrew Kator & Jennifer Legaz",
    ),
    Library(
        file_name="Reallusion.sh3f",
        licence="CC-BY-3.0-US",
        licence_url="https://creativecommons.org/licenses/by/3.0/us/",
        notice="2008-2016 Reallusion (http://www.reallusion.com)",
    ),
    Library(
        file_name="Scopia.sh3f",
        licence="CC-BY-3.0",
        licence_url="https://creativecommons.org/licenses/by/3.0/",
        notice="2014-2020 Emmanuel Puybaret / eTeks <info@eteks.com> and "
        "Scopia Visual Interfaces Systems, s.l. (http://www.scopia.es)",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Furniture:
    """One model of the catalogue.

    Parameters
    ----------
    key : identifier in the catalogue, such as ``Scopia#cup``; unique and stable.
    name : what the model shows, in English.
    creator : who must be credited.
    title : title of the original work where a licence text names one, else `name`.
    source_url : page of the original work, or an empty string.
    library : the library it comes from, with its licence.
    archive : path of the ``.sh3f`` file.
    model_path : path of the OBJ file inside the archive.
    rotation : nine numbers, row by row, that turn the model upright and to the front; or None.
    """

    key: str
    name: str
    creator: str
    title: str
    source_url: str
    library: Library
    archive: Path
    model_path: str
    rotation: tuple[float, ...] | None


def read_catalogue(package_root: Path) -> dict[str, Furniture]:
    """Read every model of the unpacked package.

    Parameters
    ----------
    package_root : folder into which the Debian package was unpacked.

    Returns
    -------
    The models by key, in the order of the libraries and of their catalogues.

    Raises
    ------
    FileNotFoundError
        If the folder does not hold the libraries.
    """
    catalogue = {}
    for library in LIBRARIES:
        archive = package_root / LIBRARY_FOLDER / library.file_name
        if not archive.is_file():
            raise FileNotFoundError(f"expected an unpacked sweethome3d-furniture, no {archive}")
        for furniture in _read_library(archive, library):
            catalogue[furniture.key] = furniture
    return catalogue


def _read_library(archive: Path, library: Library) -> Iterable[Furniture]:
    with zipfile.ZipFile(archive) as package:
        properties = package.read(PROPERTIES).decode("latin-1")
        entries: dict[int, dict[str, str]] = defaultdict(dict)
        for field, number, value in PROPERTY_LINE.findall(properties):
            entries[int(number)][field] = _unescape(value.strip())
        for _, entry in sorted(entries.items()):
            if "model" not in entry:
                continue
            model_path = entry["model"].lstrip("/")
            credit = _read_credit(package, posixpath.dirname(model_path))
            rotation = entry.get("modelRotation")
            yield Furniture(
                key=entry["id"],
                name=entry["name"],
                creator=credit.get("author", entry["creator"]),
                title=credit.get("title", entry["name"]),
                source_url=credit.get("url", ""),
                library=library,
                archive=archive,
                model_path=model_path,
                rotation=tuple(map(float, rotation.split())) if rotation else None,
            )


def _read_credit(package: zipfile.ZipFile, folder: str) -> dict[str, str]:
    """Return title, author and url from a model's own licence text, or nothing."""
    path = posixpath.join(folder, MODEL_LICENCE)
    if path not in package.namelist():
        return {}
    text = package.read(path).decode("utf-8", "replace").replace("\r", "")
    found = MODEL_LICENCE_HEAD.search(text)
    if found is None:
        return {}
    return {part: " ".join(words.split()) for part, words in found.groupdict().items()}


def _unescape(value: str) -> str:
    return UNICODE_ESCAPE.sub(lambda match: chr(int(match[1], 16)), value)
