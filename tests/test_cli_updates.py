"""The commands around updates: publish, update, shelf."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_cl import features_bundle

BUNDLES = [
    features_bundle(np.random.default_rng(i).normal(size=(8, 3)), name=f"net-{i}") for i in range(2)
]
OLD, NEW = (bundle.sha256 for bundle in BUNDLES)

PUBLISH = ("--repository", "site", "--keys", "keys")
UPDATE = ("update", "site", "--bundles", "shelf", "--root", "root.json")


@pytest.fixture
def published(call):
    """A repository with one bundle, in the folder that the command line stands in."""
    for i, bundle in enumerate(BUNDLES):
        Path(f"net-{i}.edgecl").write_bytes(bundle.archive())
    assert call("publish", "net-0.edgecl", "--name", "net", *PUBLISH)[0] == 0
    shutil.copy("site/metadata/1.root.json", "root.json")
    return Path("site")


def failure(result, what):
    code, out, err = result
    assert (code, out) == (1, "")
    first, *hint = err.splitlines()
    assert first.startswith("error: ")
    assert what in first
    assert len(hint) <= 1
    return True


def test_from_a_workstation_to_a_device(call, published):
    code, out, err = call(*UPDATE)
    assert (code, err) == (0, "")
    assert out == f"bundle: net.edgecl ({OLD[:12]})\nstate: on trial from the next start on\n"
    assert call(*UPDATE)[1].endswith("state: current already\n")
    assert call("shelf", "shelf", "--good")[1] == f"current: {OLD[:12]} (good)\nprevious: none\n"
    assert call("publish", "net-1.edgecl", "--name", "net", *PUBLISH)[0] == 0
    told = json.loads(call(*UPDATE, "--json")[1])
    assert told == {
        "switched": True,
        "target": "net.edgecl",
        "sha256": NEW,
        "notes": [],
        "bundles": "shelf",
    }
    shown = json.loads(call("shelf", "shelf", "--json")[1])
    assert (shown["current"], shown["previous"], shown["starts"]) == (NEW, OLD, 0)
    code, out, err = call("shelf", "shelf", "--back", "--prune")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"current: {OLD[:12]} (good)",
        "previous: none",
        f"failed here: {NEW[:12]}",
        f"removed: {NEW[:12]}",
    ]
    assert failure(call(*UPDATE), "failed on shelf before")
    assert call(*UPDATE, "--force")[0] == 0


def test_publish_says_what_it_made_and_until_when(call, published):
    assert stat.S_IMODE(Path("keys/targets-1.private.pem").stat().st_mode) == 0o600
    code, out, err = call("publish", *PUBLISH, "--expires-days", 3, "--replace-key", "timestamp")
    assert code == 0
    assert err == "note: new private key keys/timestamp-2.private.pem\n"
    assert out.startswith("repository: site\nbundles: net.edgecl\nsign again before: 20")
    assert out.endswith("root for devices: site/metadata/1.root.json\n")
    told = json.loads(call("publish", *PUBLISH, "--json")[1])
    assert told["versions"] == {"root": 2, "targets": 3, "snapshot": 3, "timestamp": 3}
    assert told["new_keys"] == []


def test_a_note_goes_to_people_and_into_the_json(call, published):
    call(*UPDATE)
    path = Path("shelf/updates/trusted/timestamp.json")
    for extra, stream in (((), 2), (("--json",), 1)):
        path.write_bytes(b"")
        assert "timestamp.json was damaged" in call(*UPDATE, *extra)[stream]


def test_what_is_refused_is_one_line_and_exit_code_1(call, published):
    assert failure(call(*UPDATE[:-1], "nowhere.json"), "cannot read nowhere.json")
    assert failure(call("update", "nowhere", *UPDATE[2:]), "expected a folder, or a URL")
    assert failure(call("update", "http://127.0.0.1:9", *UPDATE[2:]), "cannot be fetched")
    assert failure(call("publish", *PUBLISH, "--replace-key", "tarjets"), "unknown role")
    assert failure(call("shelf", "nowhere", "--good"), "no bundles in nowhere")
    assert failure(call("shelf", "shelf2", "--install", "root.json"), "not an edge-cl bundle")
    assert not Path("shelf/bundles").exists()
    assert not Path("shelf2").exists()


def test_wrong_usage_is_exit_code_2(call, published):
    for arguments in (
        ("update", "site"),
        ("publish",),
        ("shelf", "shelf", "--good", "--back"),
        ("shelf", "shelf", "--force"),
    ):
        assert call(*arguments)[0] == 2


def test_a_shelf_without_a_network(call, published):
    assert call("shelf", "shelf")[1] == "current: none\nprevious: none\n"
    assert not Path("shelf").exists()
    assert call("shelf", "shelf", "--install", "net-0.edgecl")[1] == (
        f"current: {OLD[:12]} (on trial, 0 starts)\nprevious: none\n"
    )
    assert os.readlink("shelf/current") == f"bundles/{OLD}.edgecl"


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_without_the_extra_it_says_what_to_install(published):
    for arguments in (UPDATE, ("publish", *PUBLISH)):
        done = python(
            "import sys; sys.modules['tuf'] = None\n"
            f"from edge_cl.cli import exit_code; sys.exit(exit_code({list(arguments)}))"
        )
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == "hint: pip install 'edge-cl[update]'"


def test_a_learner_on_a_shelf_never_loads_the_client(published):
    heavy = ("tuf", "urllib3", "cryptography", "http.client")
    done = python(
        "import sys; from edge_cl.shelf import Shelf; from edge_cl import Learner\n"
        "s = Shelf('shelf'); s.install('net-0.edgecl')\n"
        "l = Learner.open(bundle=s.start().bundle); l.learn([1, 2, 3], 'a'); l.predict([1, 2, 3])\n"
        f"s.healthy(100); print(s.status.starts, [m for m in {heavy} if m in sys.modules])"
    )
    assert done.stdout == "None []\n", done.stderr
