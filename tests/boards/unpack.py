"""A board on paper as a tree of files."""

from pathlib import Path

from edge_cl.device.system import System

HERE = Path(__file__).parent
NAMES = sorted(path.stem for path in HERE.glob("*.txt"))


def entries(name):
    """Yield path and content of each file of a board."""
    _, *parts = f"\n{(HERE / f'{name}.txt').read_text(encoding='utf-8')}".split("\n== ")
    for part in parts:
        path, _, text = part.partition("\n")
        yield path, text.rstrip("\n").replace("\\0", "\0") if "mountinfo" not in path else text


def board(name, root, changes=()):
    """Unpack a board below `root`; `changes`: path -> text, None for a file that is not there."""
    for path, text in {**dict(entries(name)), **dict(changes)}.items():
        if text is not None:
            file = Path(root) / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    return System(Path(root))
