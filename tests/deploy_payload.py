"""A wheel that is installed as edge-cl, in place of edge-cl: small, and told how to behave.

Its `edge-cl` answers `doctor`, `verify` and `warmup` as the real one does. A file `behave.json` in
the home of whoever runs it says otherwise: {"doctor": {"status": 3, "told": "..."}}.
"""

import base64
import hashlib
import zipfile
from importlib import metadata

VERSION = metadata.version("edge-cl")

PROGRAM = """
import json, pathlib, sys, time

def main():
    command, *rest = sys.argv[1:]
    home = pathlib.Path.home()
    try:
        behave = json.loads((home / "behave.json").read_text()).get(command, {})
    except OSError:
        behave = {}
    time.sleep(behave.get("seconds", 0))
    if "told" in behave:
        print(behave["told"], file=sys.stderr)
    report = {"command": command}
    if command == "verify":
        place = pathlib.Path(rest[0])
        stored = place.with_name("bundle.12345678.board.board.json")
        found = {"verdict": "as it should be", "bytes": place.stat().st_size}
        stored.write_text(json.dumps({"kind": "edge-cl board", "found": found}))
        report = found | {"stored": str(stored)}
    if behave.get("status") != 1:
        print(json.dumps(report))
    return behave.get("status", 0)
"""


def wheel(folder, *, program=PROGRAM, requires=(), name="edge_cl"):
    """Write the wheel into `folder`, and return its path."""
    information = f"{name}-{VERSION}.dist-info"
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    members = {
        "edge_cl_stand_in.py": program,
        f"{information}/METADATA": (
            f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {VERSION}\n{needs}"
        ),
        f"{information}/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
        f"{information}/entry_points.txt": ("[console_scripts]\nedge-cl = edge_cl_stand_in:main\n"),
    }
    record = "".join(f"{path},{_hash(text)},{len(text)}\n" for path, text in members.items())
    members[f"{information}/RECORD"] = f"{record}{information}/RECORD,,\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in members.items():
            archive.writestr(zipfile.ZipInfo(member), text)
    return path


def _hash(text):
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
    return "sha256=" + digest.decode().rstrip("=")
