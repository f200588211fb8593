"""`edge-cl publish`: a folder of signed bundles that any web server can hand out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_cl.cli import options
from edge_cl.cli.output import json_line, note, pairs

EXAMPLES = """
  edge-cl publish lite0.edgecl --repository site --keys keys       make it, or add to it
  edge-cl publish --repository site --keys keys                    sign again what is there
  edge-cl publish --repository site --keys keys --replace-key timestamp
"""


def publish(
    bundle: Annotated[
        Path | None,
        typer.Argument(
            metavar="[BUNDLE]",
            show_default=False,
            help="An .edgecl file; BUNDLE.sig beside it goes along  [default: sign again]",
        ),
    ] = None,
    *,
    repository: Annotated[Path, typer.Option(metavar="DIR", help="The folder to serve")],
    keys: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of private keys; never to be served")
    ],
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="To publish it under  [default: that of the file]"),
    ] = None,
    expires_days: Annotated[
        int, typer.Option(min=1, metavar="N", help="Sign again within so many days")
    ] = 30,
    root_keys: Annotated[
        int, typer.Option(min=1, metavar="N", help="Of a new repository: keys of the root")
    ] = 1,
    root_threshold: Annotated[
        int, typer.Option(min=1, metavar="N", help="Of a new repository: how many must sign")
    ] = 1,
    replace_key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE",
            help="Make a new key for root, targets, snapshot or timestamp; repeat for more",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Publish a bundle for devices to fetch with edge-cl update.

    Signs with the keys that are in the folder: timestamp and snapshot always, targets to publish
    a bundle, root to begin and to replace keys. The others can be kept elsewhere.

    Needs pip install 'edge-cl[update]'.
    """
    from edge_cl.updates.repository import publish as publish_bundle

    done = publish_bundle(
        repository,
        keys,
        bundle,
        name=name,
        days=expires_days,
        root_keys=root_keys,
        root_threshold=root_threshold,
        replace=replace_key or (),
    )
    root = repository / "metadata" / "1.root.json"
    if as_json:
        json_line(
            {
                "repository": str(repository),
                "bundles": list(done.targets),
                "versions": done.versions,
                "expires": done.expires.isoformat(),
                "new_keys": [str(path) for path in done.new_keys],
                "root": str(root),
            }
        )
        return
    for path in done.new_keys:
        note(f"note: new private key {path}")
    pairs(
        [
            ("repository", repository),
            ("bundles", ", ".join(done.targets) or "none"),
            ("sign again before", f"{done.expires:%Y-%m-%d %H:%M} UTC"),
            ("root for devices", root),
        ]
    )
