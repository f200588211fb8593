"""`edge-cl sign`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_cl.cli import options
from edge_cl.cli.output import json_line, line, note
from edge_cl.cli.usage import UsageError

EXAMPLES = """
  edge-cl sign --new-key garden           once: garden.private.pem, garden.public.pem
  edge-cl sign encoder.edgecl --key garden.private.pem
"""


def sign(
    bundle: Annotated[
        Path | None, typer.Argument(metavar="BUNDLE", help="An .edgecl file to sign")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Private key to sign with (PEM, Ed25519)")
    ] = None,
    new_key: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Make NAME.private.pem and NAME.public.pem instead"),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Sign a bundle, so that devices can tell who made it.

    The signature is a file of its own, BUNDLE.sig; copy both. A device that is started with
    --require-signature NAME.public.pem takes no other bundle. Keep the private key off devices.

    Needs pip install 'edge-cl[sign]'.
    """
    if new_key is not None:
        if bundle is not None or key is not None:
            raise UsageError("--new-key makes keys and signs nothing")
        _make_keys(new_key, as_json)
    elif bundle is None or key is None:
        raise UsageError("expected BUNDLE and --key FILE, or --new-key NAME")
    else:
        from edge_cl.signing import sign_bundle

        signature = sign_bundle(bundle, key)
        if as_json:
            json_line({"signature": str(signature)})
        else:
            line(str(signature))


def _make_keys(name: str, as_json: bool) -> None:
    from edge_cl.signing import new_key

    private, public = new_key(name)
    if as_json:
        json_line({"private": str(private), "public": str(public)})
    else:
        line(str(private))
        line(str(public))
    note(f"keep {private} secret, and a copy of it; devices need {public} only")
