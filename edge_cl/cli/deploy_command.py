"""`edge-cl deploy`."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_cl.cli import options
from edge_cl.cli.output import failure, json_line, line, note
from edge_cl.cli.progress import shares
from edge_cl.cli.usage import UsageError

if TYPE_CHECKING:
    from edge_cl.deploy import Deployed, Service

EXAMPLES = """
  edge-cl deploy pi@kitchen --dry-run                   what would be done; changes nothing
  edge-cl deploy pi@kitchen                             with the bundle that ships with edge-cl
  edge-cl deploy pi@kitchen --bundle mine.edgecl --service --mode learn --label mug
  edge-cl deploy pi@kitchen --bundle mine.edgecl --wheels wheels/    a board without internet
  edge-cl deploy pi@kitchen --port 2222 --identity ~/.ssh/board --ssh-option ProxyJump=gate
"""


class Mode(str, Enum):
    """See `edge_cl.run`."""

    predict = "predict"
    learn = "learn"
    prequential = "prequential"


def deploy(
    board: Annotated[
        str,
        typer.Argument(
            metavar="USER@HOST", show_default=False, help="As ssh takes it; an alias does too"
        ),
    ],
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            metavar="FILE",
            help="Encoder to bring there  [default: the one that ships with edge-cl]",
        ),
    ] = None,
    service: Annotated[
        bool, typer.Option("--service", help="Install a systemd unit that runs it, and start it")
    ] = False,
    system: Annotated[
        bool,
        typer.Option(
            "--system",
            help="With --service: a unit of the system, hardened further; needs sudo without a "
            "password  [default: a unit of the user]",
        ),
    ] = False,
    source: Annotated[
        str, typer.Option(metavar="SOURCE", help="With --service: as edge-cl run takes it")
    ] = "camera:0",
    mode: Annotated[Mode, typer.Option(help="With --service: as edge-cl run takes it")] = (
        Mode.predict
    ),
    label: Annotated[
        str | None, typer.Option(metavar="NAME", help="With --service: as edge-cl run takes it")
    ] = None,
    memory: Annotated[
        str, typer.Option(metavar="SIZE", help="With --service: the most it may take, 300M or 75%")
    ] = "75%",
    wheels: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Fetch the board's wheels here, into DIR, and copy them: the board needs no "
            "internet",
        ),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="With --wheels: take what is in DIR, ask no index")
    ] = False,
    folder: Annotated[
        str, typer.Option(metavar="DIR", help="On the board; below the home there, or absolute")
    ] = "edge-cl",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, metavar="N", help="Of the ssh server")
    ] = None,
    identity: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Private key to log in with")
    ] = None,
    ssh_option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="As after ssh -o; repeat for more"),
    ] = None,
    python: Annotated[str, typer.Option(metavar="PATH", help="Of the board")] = "python3",
    extra: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Of edge-cl: litert, sign ...; repeat for more  [default: what the source and "
            "the bundle need]",
        ),
    ] = None,
    system_site_packages: Annotated[
        bool,
        typer.Option(
            "--system-site-packages", help="Let it use what the board's system has installed"
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say every step, and change nothing")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Bring edge-cl and a bundle to a board, over ssh.

    Makes an environment there, installs this version of edge-cl, copies the bundle, runs
    edge-cl doctor and edge-cl verify there and brings both reports home: beside the bundle, or
    where you are for the one that ships with edge-cl.
    Running it again changes nothing that is right already. What fails leaves the board as it was.

    It is your own ssh that connects, with your keys; no password is asked for. Exit 3 when doctor
    or verify on the board refuses.
    """
    from edge_cl.assets import shipped_bundle
    from edge_cl.deploy import Address
    from edge_cl.deploy import deploy as run

    of_service = (source, mode, label, memory) != ("camera:0", Mode.predict, None, "75%")
    if not service and (system or of_service):
        raise UsageError("--system, --source, --mode, --label and --memory are for --service")
    if offline and wheels is None:
        raise UsageError("--offline takes the wheels from --wheels DIR")
    address = Address(name=board, port=port, identity=identity, options=tuple(ssh_option or ()))
    with shares() as progress:
        found = run(
            address,
            bundle or shipped_bundle(),
            service=_service(system, source, mode, label, memory) if service else None,
            folder=folder,
            python=python,
            extras=extra or (),
            wheels=wheels,
            offline=offline,
            site_packages=system_site_packages,
            reports=None if bundle else Path(),
            dry_run=dry_run,
            progress=progress,
        )
    if as_json:
        json_line(_fields(found))
    else:
        for step in found.steps:
            line(f"{step.name:12} {step.did}")
        for report in found.reports:
            note(f"report: {report}")
    if found.refused:
        failure(
            found.refused,
            "; ".join(found.lost) or "nothing was left on the board; its reports are here",
        )
        raise typer.Exit(3)


def _service(system: bool, source: str, mode: Mode, label: str | None, memory: str) -> Service:
    from edge_cl.deploy import Service

    return Service(
        kind="system" if system else "user",
        source=source,
        mode=mode.value,
        label=label,
        memory=memory,
    )


def _fields(found: Deployed) -> dict[str, object]:
    return {
        "board": {
            name: value
            for name, value in asdict(found.board).items()
            if name in ("board", "machine", "python", "libc", "libc_version", "folder")
        },
        "release": found.release,
        "steps": [asdict(step) for step in found.steps],
        "reports": [str(path) for path in found.reports],
        "refused": found.refused,
        "lost": list(found.lost),
        "dry_run": found.dry_run,
    }
