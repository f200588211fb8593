"""The SH3D stream: what is in it, and that no protocol asks for what it has shown."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
from data.packages import package_root
from data.protocols import sh3d_splits
from data.sh3d import FRAMES, MODELS, index
from data.sh3d_sessions import SESSIONS

SHOWN = index()
SPLITS = sh3d_splits(SHOWN)


def clips(rows):
    """The clips that these frames are of: an object in a session."""
    return set(zip(SHOWN.instance[rows].tolist(), SHOWN.session[rows].tolist(), strict=True))


def values(of, rows):
    return set(of[rows].tolist())


def test_the_stream_has_the_size_it_says():
    keys = [key for keys in MODELS.values() for key in keys]
    assert (len(MODELS), len(keys), len(set(keys))) == (49, 272, 272)
    assert list(MODELS) == sorted(MODELS)
    assert len(SHOWN.label) == 272 * len(SESSIONS) * FRAMES == 10_880
    assert len({session.name for session in SESSIONS}) == 8


def test_every_frame_is_listed_once():
    rows = np.stack([SHOWN.instance, SHOWN.session, SHOWN.frame], axis=1)
    assert len(np.unique(rows, axis=0)) == len(rows)
    names = [name for name, keys in MODELS.items() for _ in keys]
    assert [names[i] for i in SHOWN.instance] == [list(MODELS)[c] for c in SHOWN.label]


@pytest.mark.parametrize("letter", SPLITS)
def test_no_clip_is_both_learned_and_tested(letter):
    split = SPLITS[letter]
    assert not clips(split.learn) & clips(split.test)
    assert len(np.unique(split.learn)) == len(split.learn)


@pytest.mark.parametrize("letter", SPLITS)
def test_every_label_that_is_asked_for_was_learned(letter):
    split = SPLITS[letter]
    assert values(split.label, split.test) <= values(split.label, split.learn)
    assert values(split.label, split.learn) == set(range(split.label.max() + 1))


def test_unseen_sessions_and_objects_are_unseen():
    for letter in "BG":
        learned = values(SHOWN.session, SPLITS[letter].learn)
        assert not learned & values(SHOWN.session, SPLITS[letter].test)
        assert not any(SESSIONS[session].is_test for session in learned)
    unseen = SPLITS["C"]
    assert not values(SHOWN.instance, unseen.learn) & values(SHOWN.instance, unseen.test)
    assert values(SHOWN.session, unseen.learn) == values(SHOWN.session, unseen.test)
    assert values(SHOWN.session, SPLITS["E"].learn) == {0}


@pytest.mark.parametrize("letter", SPLITS)
def test_a_group_leaves_no_clip_and_no_class_behind(letter):
    """What is left out to choose λ is unseen, and its labels are known from other groups."""
    split = SPLITS[letter]
    for group in values(split.group, split.learn):
        out = split.learn[split.group[split.learn] == group]
        kept = split.learn[split.group[split.learn] != group]
        assert not clips(out) & clips(kept)
        assert values(split.label, out) <= values(split.label, kept)


def test_sizes_of_the_protocols():
    sizes = {letter: (len(s.learn), len(s.test)) for letter, s in SPLITS.items()}
    assert sizes == {"B": (6690, 2230), "C": (6690, 1470), "E": (1360, 9520), "G": (8160, 2720)}


def test_an_installed_package_is_not_fetched(tmp_path):
    member = Path(__file__).relative_to("/")
    assert package_root("no-such-package", member, tmp_path) == Path("/")
    assert not list(tmp_path.iterdir())


def test_a_package_that_cannot_be_had_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="no-such-package"):
        package_root("no-such-package", Path("usr/share/nowhere"), tmp_path)
