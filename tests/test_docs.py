"""The documents say what is: links lead somewhere, code runs, nothing public is left out."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from edge_cl import errors
from edge_cl.cli import app
from edge_cl.heads import HEADS

ROOT = Path(__file__).parent.parent
RUN = [
    "README.md",
    "docs/guides/sensors.md",
    "docs/concepts/state-and-power-loss.md",
]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *(ROOT / "docs").rglob("*.md")])


def name_of(page):
    return str(page.relative_to(ROOT))


def blocks(page, language):
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands():
    """All commands, those of a group with the name of their group."""
    alone = [command.name for command in app.registered_commands]
    alone += [g.name for g in app.registered_groups if g.typer_instance.registered_callback]
    grouped = [
        f"{group.name} {command.name}"
        for group in app.registered_groups
        for command in group.typer_instance.registered_commands
    ]
    return sorted(alone + grouped)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{name_of(page)} links to {target}"


@pytest.mark.parametrize("page", [ROOT / page for page in RUN], ids=name_of)
def test_python_in_the_text_runs_as_it_stands(page, tmp_path):
    for code in blocks(page, "python"):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_the_text_exist(page):
    known = {name.split()[0] for name in commands()}
    for block in blocks(page, "sh"):
        for command in re.findall(r"^edge-cl ([a-z-]+)", block, re.MULTILINE):
            assert command in known, f"{name_of(page)} shows edge-cl {command}"


def test_every_command_is_in_the_reference():
    text = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")
    for command in commands():
        assert f"## `edge-cl {command}`" in text


def test_the_reference_of_the_command_line_is_fresh():
    made = subprocess.run(
        [sys.executable, "docs/reference/make_cli.py"], cwd=ROOT, capture_output=True, text=True
    )
    text = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")
    assert made.stdout == text, "run: python docs/reference/make_cli.py > docs/reference/cli.md"


def test_every_error_is_in_the_reference_and_in_the_tree():
    text = (ROOT / "docs/reference/errors.md").read_text(encoding="utf-8")
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, Exception):
            assert f"`{name}`" in text
            assert name in (errors.__doc__ or "")


def test_every_head_is_described():
    text = (ROOT / "docs/concepts/heads.md").read_text(encoding="utf-8")
    for name in HEADS:
        assert f"`{name}`" in text
