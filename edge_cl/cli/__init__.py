"""The command line: a thin shell over the library.

Exit codes: 0 done; 1 an error, said in one line; 2 the command was called wrongly; 3 a check
did not pass; 130 interrupted by Ctrl-C. Data goes to stdout, everything else to stderr.

This file and the files of the commands import nothing heavy: the library is imported when a
command runs, so that `edge-cl --help` answers at once.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

from edge_cl import __version__
from edge_cl.cli import (
    add_encoder_command,
    bench_command,
    class_commands,
    demo_command,
    deploy_command,
    devices_command,
    doctor_command,
    export_command,
    export_head_command,
    heads_command,
    history_command,
    inspect_command,
    learn_command,
    output,
    plan_command,
    predict_command,
    promote_command,
    publish_command,
    run_command,
    shelf_command,
    sign_command,
    state_commands,
    tune_command,
    tune_head_command,
    update_command,
    verify_command,
    version_commands,
    warmup_command,
)
from edge_cl.cli.usage import UsageError

__all__ = ["app", "exit_code", "main"]

app = typer.Typer(
    name="edge-cl",
    add_completion=False,
    rich_markup_mode=None,  # plain help: no import of rich, the same on every terminal
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _name, _function, _examples in (
    ("learn", learn_command.learn, learn_command.EXAMPLES),
    ("predict", predict_command.predict, predict_command.EXAMPLES),
    ("run", run_command.run, run_command.EXAMPLES),
    ("status", state_commands.status, state_commands.STATUS_EXAMPLES),
    ("history", history_command.history, history_command.EXAMPLES),
    ("doctor", doctor_command.doctor, doctor_command.EXAMPLES),
    ("undo", state_commands.undo, state_commands.UNDO_EXAMPLES),
    ("forget", state_commands.forget, state_commands.FORGET_EXAMPLES),
    ("merge", state_commands.merge, state_commands.MERGE_EXAMPLES),
    ("use", state_commands.use, state_commands.USE_EXAMPLES),
    ("promote", promote_command.promote, promote_command.EXAMPLES),
    ("heads", heads_command.heads, heads_command.EXAMPLES),
    ("tune", tune_command.tune, tune_command.EXAMPLES),
    ("tune-head", tune_head_command.tune_head, tune_head_command.EXAMPLES),
    ("export", export_command.export, export_command.EXAMPLES),
    ("add-encoder", add_encoder_command.add_encoder, add_encoder_command.EXAMPLES),
    ("export-head", export_head_command.export_head, export_head_command.EXAMPLES),
    ("sign", sign_command.sign, sign_command.EXAMPLES),
    ("shelf", shelf_command.shelf, shelf_command.EXAMPLES),
    ("update", update_command.update, update_command.EXAMPLES),
    ("publish", publish_command.publish, publish_command.EXAMPLES),
    ("inspect", inspect_command.inspect, inspect_command.EXAMPLES),
    ("plan", plan_command.plan, plan_command.EXAMPLES),
    ("verify", verify_command.verify, verify_command.EXAMPLES),
    ("warmup", warmup_command.warmup, warmup_command.EXAMPLES),
    ("deploy", deploy_command.deploy, deploy_command.EXAMPLES),
    ("demo", demo_command.demo, demo_command.EXAMPLES),
):
    app.command(_name, epilog=f"\b\nExamples:{_examples}")(_function)

for _group, _says, _commands in (
    (
        "class",
        "Rename, merge or forget a class.",
        (
            ("rename", class_commands.rename, class_commands.RENAME_EXAMPLES),
            ("merge", class_commands.merge, class_commands.MERGE_EXAMPLES),
            ("forget", class_commands.forget, class_commands.FORGET_EXAMPLES),
        ),
    ),
    (
        "version",
        "Keep a state under a name, and return to it.",
        (
            ("save", version_commands.save, version_commands.SAVE_EXAMPLES),
            ("list", version_commands.list_, version_commands.LIST_EXAMPLES),
            ("rollback", version_commands.rollback, version_commands.ROLLBACK_EXAMPLES),
            ("drop", version_commands.drop, version_commands.DROP_EXAMPLES),
        ),
    ),
):
    _part = typer.Typer(rich_markup_mode=None, help=_says)
    for _verb, _does, _shown in _commands:
        _part.command(_verb, epilog=f"\b\nExamples:{_shown}")(_does)
    app.add_typer(_part, name=_group)

_devices = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
_devices.callback(epilog=f"\b\nExamples:{devices_command.LIST_EXAMPLES}")(devices_command.devices)
_devices.command("list", epilog=f"\b\nExamples:{devices_command.LIST_EXAMPLES}")(
    devices_command.list_
)
_devices.command("show", epilog=f"\b\nExamples:{devices_command.SHOW_EXAMPLES}")(
    devices_command.show
)
app.add_typer(_devices, name="devices")

_bench = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
_bench.callback(epilog=f"\b\nExamples:{bench_command.EXAMPLES}")(bench_command.bench)
_bench.command("report", epilog=f"\b\nExamples:{bench_command.REPORT_EXAMPLES}")(
    bench_command.report
)
app.add_typer(_bench, name="bench")

_FIRST_STEPS = """\b
First steps:
  edge-cl demo                     see what it does, on pictures that ship with it
  edge-cl learn photos/            a folder with a folder of pictures for each class
  edge-cl predict photo.jpg
  edge-cl status
"""


def _print_version(wanted: bool) -> None:
    if wanted:
        output.line(f"edge-cl {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True, epilog=_FIRST_STEPS)
def _edge_cl(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit"
        ),
    ] = False,
) -> None:
    """Teach a small computer new classes while it runs."""
    if context.invoked_subcommand is None:
        sys.stderr.write(context.get_help() + "\n")
        raise typer.Exit(2)


def main() -> None:
    """Run the command line and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a label must not end the program
    sys.exit(exit_code(sys.argv[1:]))


def exit_code(arguments: list[str]) -> int:
    """Run one command line; errors are written, the code is returned."""
    from edge_cl.errors import EdgeCLError, FidelityError

    try:
        code = app(arguments, prog_name="edge-cl", standalone_mode=False)
        sys.stdout.flush()
    except EdgeCLError as error:
        output.failure(str(error), error.hint)
        return 3 if isinstance(error, FidelityError) else 1
    except UsageError as error:
        return _explain_usage(error)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        _drop_stdout()
        return 1
    except OSError as error:  # our own errors were caught above: this is stdout
        _drop_stdout()
        output.failure(f"cannot write the output: {error.strerror or error}")
        return 1
    return code if isinstance(code, int) else 0


def _drop_stdout() -> None:
    """Let what is still to be flushed at exit go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain_usage(error: Exception) -> int:
    message = getattr(error, "format_message", lambda: str(error))()
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "edge-cl"
    output.failure(message.rstrip("."), f"{path} --help")
    return 2
