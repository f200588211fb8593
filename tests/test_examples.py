"""The examples run as they stand, and say what they promise to say."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
SAYS = {
    "01_teach_pictures.py": "right:",
    "02_sensor_stream.py": "after 300 samples:",
    "03_forget_on_request.py": "as if it had never been learned: True",
    "04_two_devices.py": "sums equal, bit for bit: True",
    "05_own_frames.py": "new: mug",
    "06_drift_and_numbers.py": "at 50 degrees it says",
}


def test_every_example_is_here():
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == sorted(SAYS)


@pytest.mark.parametrize("name", SAYS)
def test_example_runs(name, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert SAYS[name] in done.stdout
    assert not list(tmp_path.iterdir()), "an example must leave nothing behind"
