"""Make ``household.zip``: everyday objects as short turntable clips in four sessions.

Members are ``<session>/<class>/<instance>-<frame>.jpg`` and ``index.json``, which says how the
pictures were made, which session is the test, and who made the models under which licence. The
same credits are written into ``LICENSES.md`` next to the archive.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from clips import PICTURE_SIZE, encode_jpeg, film, load_furniture
from furniture import LIBRARIES, Furniture, Library, read_catalogue
from household_models import HOUSEHOLD_MODELS
from scenery import SESSIONS
from stored_zip import write_stored_zip

SEED = 1
FRAMES = 3
ABOUT = (
    "Drawn from 3D models of Sweet Home 3D (Debian package sweethome3d-furniture) in front of "
    "generated backgrounds. Each model was turned, scaled and lit; its pictures are under the "
    "licence of its library, with credit to its creator."
)
CREDITS_BEGIN = "<!-- household credits: written by examples/data/make_household.py -->"
CREDITS_END = "<!-- end of household credits -->"


@dataclass(frozen=True, slots=True)
class Instance:
    """One object of the demo: its class, its number within the class, its model."""

    class_name: str
    number: int
    furniture: Furniture

    @property
    def name(self) -> str:
        """Class and number as they stand in the names of the pictures."""
        return f"{self.class_name}/{self.number:02d}"


def main() -> None:
    """Parse the command line and write archive and credits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("furniture", type=Path, help="unpacked sweethome3d-furniture")
    parser.add_argument("output", type=Path, help="folder for household.zip and LICENSES.md")
    arguments = parser.parse_args()

    arguments.output.mkdir(parents=True, exist_ok=True)
    instances = list(list_instances(read_catalogue(arguments.furniture)))
    members = {"index.json": describe(instances)}
    with ProcessPoolExecutor() as pool:
        for pictures in pool.map(film_instance, instances):
            members |= pictures
    archive = arguments.output / "household.zip"
    write_stored_zip(archive, members)
    write_credits(arguments.output / "LICENSES.md", instances)
    sys.stdout.write(
        f"{archive}: {len(members) - 1} pictures, {archive.stat().st_size / 1e6:.2f} MB\n"
    )


def list_instances(catalogue: dict[str, Furniture]) -> Iterator[Instance]:
    """Yield the objects of the demo, class by class."""
    for class_name, keys in sorted(HOUSEHOLD_MODELS.items()):
        for number, key in enumerate(keys):
            yield Instance(class_name, number, catalogue[key])


def film_instance(instance: Instance) -> dict[str, bytes]:
    """Return the pictures of one object in all sessions, by member name."""
    mesh = load_furniture(instance.furniture)
    return {
        f"{session.name}/{instance.name}-{frame}.jpg": encode_jpeg(picture)
        for session in SESSIONS
        for frame, picture in enumerate(
            film(mesh, instance.furniture.key, session, frames=FRAMES, seed=SEED)
        )
    }


def describe(instances: list[Instance]) -> bytes:
    """Return ``index.json``."""
    index = {
        "format": 1,
        "made_by": "examples/data/make_household.py",
        "about": ABOUT,
        "seed": SEED,
        "picture_size": PICTURE_SIZE,
        "frames_per_clip": FRAMES,
        "sessions": [
            {"name": session.name, "role": "test" if session.is_test else "train"}
            for session in SESSIONS
        ],
        "classes": sorted(HOUSEHOLD_MODELS),
        "libraries": {
            library.file_name: {
                "licence": library.licence,
                "licence_url": library.licence_url,
                "copyright": library.notice,
            }
            for library in list_libraries(instances)
        },
        "models": {instance.name: credit(instance.furniture) for instance in instances},
    }
    return (json.dumps(index, indent=1, ensure_ascii=False) + "\n").encode()


def credit(furniture: Furniture) -> dict[str, str]:
    """Return what must or should be said about the origin of a model."""
    return {
        "key": furniture.key,
        "name": furniture.name,
        "title": furniture.title,
        "creator": furniture.creator,
        "library": furniture.library.file_name,
        "licence": furniture.library.licence,
        "source_url": furniture.source_url,
    }


def list_libraries(instances: list[Instance]) -> list[Library]:
    """Return the libraries from which the models come."""
    used = {instance.furniture.library for instance in instances}
    return [library for library in LIBRARIES if library in used]


def write_credits(path: Path, instances: list[Instance]) -> None:
    """Replace the credits in a licence file, or add them at its end.

    Parameters
    ----------
    path : Markdown file; whatever stands outside the two marker lines is kept.
    instances : the objects to credit.
    """
    before = path.read_text("utf-8") if path.exists() else ""
    before, _, rest = before.partition(CREDITS_BEGIN)
    _, _, after = rest.partition(CREDITS_END)
    text = "\n".join([CREDITS_BEGIN, "", *_credit_lines(instances), "", CREDITS_END])
    path.write_text(before + text + (after or "\n"), "utf-8")


def _credit_lines(instances: list[Instance]) -> Iterator[str]:
    for library in list_libraries(instances):
        yield f"- `{library.file_name}`: [{library.licence}]({library.licence_url})."
        yield f"  Copyright: {library.notice}."
    yield ""
    yield "| pictures | model | creator | licence | source |"
    yield "|---|---|---|---|---|"
    for instance in instances:
        furniture = instance.furniture
        library = furniture.library
        source = f"<{furniture.source_url}>" if furniture.source_url else library.file_name
        title = furniture.name
        if furniture.title.lower() != furniture.name.lower():
            title += f", from “{furniture.title}”"
        yield (
            f"| {instance.name} | {title} | {furniture.creator} | {library.licence} | {source} |"
        )


if __name__ == "__main__":
    main()
