"""Seeds and hypothesis profiles for the whole suite; a place to run the command line in."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from sensor_rows import CENTRES, rows

settings.register_profile(
    "fast",
    max_examples=45,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.register_profile("ci", settings.get_profile("fast"), derandomize=True)
settings.register_profile("few", settings.get_profile("ci"), max_examples=15)
settings.register_profile("patience", settings.get_profile("fast"), max_examples=2000)
settings.register_profile(  # tests/arm: few examples, each is slow
    "emulated", settings.get_profile("ci"), max_examples=3, database=None
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "fast"))


@pytest.fixture
def rng(request):
    """Random numbers that differ between tests, and not between runs."""
    return np.random.default_rng(list(request.node.name.encode()))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to stand in: a bundle for vectors of six, and features to learn and test on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDGE_CL_STATE", raising=False)
    from edge_cl import features_bundle

    Path("sensor.edgecl").write_bytes(features_bundle(3 * CENTRES).archive())
    for name, seed in (("train", 0), ("test", 1)):
        x, y = rows(30, seed)
        np.savez(f"{name}.npz", x=x, y=y)
    np.savez("one.npz", x=rows(1)[0])
    return tmp_path


@pytest.fixture
def call(place, capsys):
    """Run a command line in this process: exit code, stdout, stderr."""

    from edge_cl.cli import exit_code

    def run(*arguments):
        capsys.readouterr()
        code = exit_code([str(a) for a in arguments])
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def taught(call):
    assert call("learn", "train.npz", "--bundle", "sensor.edgecl")[0] == 0
    return Path("edge-cl-state")


@pytest.fixture
def figure(record_property):
    """Say what was measured; all figures stand together at the end of the run."""

    def say(text):
        record_property("figure", text)

    return say


def pytest_terminal_summary(terminalreporter):
    found = [
        (report.nodeid, text)
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, text in getattr(report, "user_properties", ())
        if name == "figure" and getattr(report, "when", "") == "call"
    ]
    if found:
        terminalreporter.section("figures")
        for where, text in sorted(found):
            terminalreporter.write_line(f"{where.partition('::')[2]}: {text}")
