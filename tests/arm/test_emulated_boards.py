"""A Raspberry Pi 4 and 5, emulated: what runs here runs there, and comes to the same.

Where the boards cannot be had, everything here is skipped and says why. How they are made, and
what they cannot show: `emulated_board.py`.
"""

import functools
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from arm.both_sides import HEADS, MAPS, SNAPSHOT_EVERY
from arm.emulated_board import CHECKOUT, CPUS, UnavailableError, board, seconds_of_children
from PIL import Image

from edge_cl.demo.pictures import household

pytestmark = [pytest.mark.arm, pytest.mark.slow, pytest.mark.parametrize("cpu", CPUS)]

HERE = Path(__file__).parent
SCRIPT = HERE / "both_sides.py"
SCORES_WITHIN = 1e-6  # of the scores' spread
COSINE = 0.999  # of int8 features: rounding differs from CPU to CPU, and it adds up

# The runtime's own tests that run there; examples of hypothesis are few (tests/conftest.py).
SUITES = {
    "cortex-a72": (
        *("tiny", "kernels", "ridge", "nearest_mean", "moments", "simplex", "blas"),
        *("store", "bundle", "encoders", "learner"),
        "cli_state::test_a_version_is_kept_listed_returned_to_and_dropped",
        "cli_state::test_a_class_is_renamed_merged_and_forgotten",
        "cli_state::test_a_command_that_is_repeated_with_its_event_learns_once",
        "canary::test_an_encoder_is_tried_once",
        "canary::test_a_crash_is_an_error_that_names_it",
        "canary::test_a_proof_holds_for_what_was_proven_and_nothing_else",
    ),
    "cortex-a76": ("tiny", "kernels", "nearest_mean", "encoders", "moments"),
}
# They compile every kernel anew, need a limit on memory, take many seconds here already, refuse
# what is wrong (by Python that is the same there), or try further options of a head that is tried
LEFT_OUT = (
    *("nothing_can_be_written", "compiles_nothing", "memory", "every_width_of_a_strip"),
    *("one_writer_and_any", "killed_writer", "thousands_of", "every_truncation"),
    *("of_the_shipped_bundle", "small_bundle", "the_same_members", "report_home", "1024-"),
    *("refused", "bad_vector", "bad_label", "bad_picture", "bad_input", "does_not_hold"),
    *("lda-", "preset-", "kalman-", "aef-sampled", "mahalanobis", "simplex]", "ridge-strong"),
    *("forgot_the_wrong_thing", "calls_of_any_size", "has_help_with_examples"),
)


@pytest.fixture
def there(cpu):
    """Give the board of a CPU."""
    try:
        return board(cpu)
    except UnavailableError as error:
        pytest.skip(str(error))


SDOT = """
import ctypes, mmap, struct
page = mmap.mmap(-1, 4096, prot=7)
page.write(struct.pack("<II", 0x4E829420, 0xD65F03C0))  # sdot v0.4s, v1.16b, v2.16b; ret
ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
"""


def test_an_instruction_that_the_cpu_lacks_ends_the_program(cpu, there, tmp_path):
    """Else it would prove nothing that no library meets one."""
    done = there.run("-c", SDOT, cwd=tmp_path)
    assert done.returncode == (-signal.SIGILL if cpu == "cortex-a72" else 0), done.stderr


def test_children_run_there_too(cpu, there, tmp_path):
    code = "import platform, sys; print(platform.machine(), sys.executable)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-I', '-c', {code!r}])"
    done = there.run("-c", child, cwd=tmp_path)
    assert done.stdout.split() == ["aarch64", str(there.python)], done.stderr


def test_the_runtimes_own_tests_pass_there(cpu, there, tmp_path, figure):
    used = seconds_of_children()
    done = there.run(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", CHECKOUT),
        *("-c", CHECKOUT / "pyproject.toml", "-o", f"pythonpath={CHECKOUT / 'tests'}"),
        *("--basetemp", tmp_path / "tests", "-m", "not slow"),
        *("-k", " and ".join(f"not {name}" for name in LEFT_OUT)),
        *(selected(name) for name in SUITES[cpu]),
        cwd=tmp_path,
        env={"HYPOTHESIS_PROFILE": "emulated"},
        timeout=3600,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    told = re.findall(r"\d+ (?:passed|skipped)", done.stdout)
    figure(f"{cpu}: {', '.join(told)}, {seconds_of_children() - used:.0f} s of CPU")


def selected(name):
    file, *test = name.split("::")
    return "::".join([str(CHECKOUT / "tests" / f"test_{file}.py"), *test])


def test_the_command_line_learns_pictures_there_and_is_understood_here(cpu, there, tmp_path):
    photos, shown = tmp_path / "photos", household(limit=1).train
    for i in (0, 1, 2, 20, 21, 22):  # three objects in two sessions
        place = photos / ("asked" if i < 20 else "learned") / shown.labels[i]
        place.mkdir(parents=True)
        Image.fromarray(shown.pictures[i]).save(place / "photo.png")
    on_state = ("--state", tmp_path / "state", "--json")
    done = there.run("-m", "edge_cl", "learn", photos / "learned", *on_state, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    asked = sorted((photos / "asked").rglob("*.png"))
    theirs = there.run("-m", "edge_cl", "predict", *asked, *on_state, cwd=tmp_path)
    assert theirs.returncode == 0, theirs.stderr
    command = [sys.executable, "-m", "edge_cl", "predict", *asked, *on_state]
    ours = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for out in (theirs.stdout, ours):
        labels = [json.loads(line)["predicted"] for line in out.splitlines()]
        assert labels == [photo.parent.name for photo in asked]


# -- both sides ----------------------------------------------------------------------------------


def inputs(folder):
    """Make what both sides begin with: drawn there it might be rounded differently."""
    rng = np.random.default_rng(5)
    centres, y = 3 * rng.standard_normal((6, 48)), rng.integers(0, 6, 130)
    shown = household(limit=1).train
    each = (0, 1, 2, 3, 20, 21, 22, 23)  # four objects in two sessions
    given = {
        "x": centres[y] + rng.standard_normal((130, 48)),
        "asked": centres[np.arange(40) % 6] + rng.standard_normal((40, 48)),
    }
    path = folder / "inputs.npz"
    np.savez(
        path,
        y=y,
        pictures=np.stack([shown.pictures[i] for i in each]),
        labels=np.array([shown.labels[i] for i in each]),
        **{name: array.astype(np.float32) for name, array in given.items()},
    )
    return path


def run_here(*arguments):
    subprocess.run([sys.executable, SCRIPT, *arguments], check=True, timeout=600)


def run_there(there, *arguments, cwd):
    done = there.run(SCRIPT, *arguments, cwd=cwd, timeout=1800)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def both(tmp_path_factory):
    """Compute on the host and on a board, once: both results, and where the states are."""

    @functools.cache
    def computed(there):
        folder = tmp_path_factory.mktemp(there.cpu)
        given = inputs(folder)
        for side in ("here", "there"):
            (folder / side).mkdir()
        run_here("compute", given, folder / "here.npz", folder / "here")
        run_there(there, "compute", given, folder / "there.npz", folder / "there", cwd=folder)
        return dict(np.load(folder / "here.npz")), dict(np.load(folder / "there.npz")), folder

    return computed


@pytest.fixture
def sides(there, both):
    return both(there)


def assert_scores_agree(ours, theirs):
    known = np.isfinite(ours)
    np.testing.assert_array_equal(np.isfinite(theirs), known)  # -inf where nothing was learned
    spread = np.ptp(ours[known])
    assert spread > 0
    assert np.abs(ours[known] - theirs[known]).max() <= SCORES_WITHIN * spread


def test_sums_are_the_same_bits_and_scores_agree(cpu, sides):
    ours, theirs, _ = sides
    assert ours.keys() == theirs.keys()
    for head in HEADS:
        for name in MAPS:
            for kind in ("n", "Q", "G"):
                key = f"sums {head} {name} {kind}"
                assert ours[key].any()
                np.testing.assert_array_equal(ours[key], theirs[key], err_msg=key)
            key = f"scores {head} {name}"
            assert_scores_agree(ours[key], theirs[key])


def test_features_of_the_shipped_network_point_the_same_way(cpu, sides, figure):
    ours, theirs, _ = sides
    a, b = ours["features"].astype(float), theirs["features"].astype(float)
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    figure(f"{cpu}: int8 features, least cosine to x86-64 {cosines.min():.6f}")
    assert cosines.min() >= COSINE
    np.testing.assert_array_equal(ours["answers"], theirs["answers"])


def test_a_state_goes_on_where_it_was_not_made(cpu, there, sides, tmp_path):
    """Closed, or with its last lessons in the journal alone; from here to there, and back."""
    _, _, folder = sides
    found = {}
    for made in ("here", "there"):
        for taken in ("here", "there"):
            states = shutil.copytree(folder / made, tmp_path / f"{made}-{taken}")
            out = tmp_path / f"{made}-{taken}.npz"
            if taken == "here":
                run_here("take-over", states, out)
            else:
                run_there(there, "take-over", states, out, cwd=tmp_path)
            found[made, taken] = dict(np.load(out))
    expected = found["here", "here"]
    assert expected["replayed ridge cut"] > 0 and expected["replayed ridge closed"] == 0
    assert expected["n ridge cut"].sum() == SNAPSHOT_EVERY + 11  # one was undone
    for other in found.values():
        assert other.keys() == expected.keys()
        for key, value in expected.items():
            if key.startswith("scores"):
                assert_scores_agree(value, other[key])
            else:
                np.testing.assert_array_equal(other[key], value, err_msg=key)
