"""The command line: parses words, calls one function for each command, maps errors to exit codes.

Imports neither torch nor the kernel until a command needs them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    add_completion=False,
    no_args_is_help=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Model = Annotated[
    str | None, typer.Option("--model", help="Checkpoint folder or hub name; default: embedded.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback(invoke_without_command=True)
def shell(context: typer.Context, model: Model = None) -> None:
    """An operating system whose kernel is a local language model.

    Without a command, opens the interactive shell.
    """
    if context.invoked_subcommand is None:
        from llmos.shell.session import run_shell

        raise typer.Exit(run_shell(_model_flags(model)))


@app.command()
def run(
    task: Annotated[str, typer.Argument(help="What is to be done, in plain language.")],
    model: Model = None,
    attach: Annotated[
        list[Path] | None, typer.Option(help="A file to copy into the workspace as input.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one event a line.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the calls and run none.")
    ] = False,
    tools: Annotated[
        Path | None,
        typer.Option(help="JSON file of further tools (OpenAI form), for --dry-run."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Allow every call that needs a yes.")] = False,
    deny: Annotated[bool, typer.Option("--deny", help="Deny every such call.")] = False,
) -> None:
    """Run one task; the answer goes to stdout, the steps to stderr.

    Text on stdin is input for the task.
    """
    from llmos.shell.task import RunOptions, run_task

    options = RunOptions(tuple(attach or ()), as_json, dry_run, tools, yes, deny)
    raise typer.Exit(run_task(task, options, _model_flags(model)))


@app.command()
def ps(
    show_all: Annotated[bool, typer.Option("--all", "-a", help="Also those that ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """List processes: those that live, and those that a dead kernel left behind."""
    from llmos.shell.views import print_processes

    print_processes(show_all=show_all, as_json=as_json)


@app.command()
def strace(
    pid: Annotated[int, typer.Argument(help="A process, as `llmos ps --all` lists it.")],
    as_json: AsJson = False,
) -> None:
    """Show all that a process did, from the journal."""
    from llmos.shell.views import print_trace

    print_trace(pid, as_json=as_json)


@app.command()
def tools(as_json: AsJson = False) -> None:
    """List the installed tools."""
    from llmos.shell.views import print_tools

    print_tools(as_json=as_json)


@app.command()
def models(model: Model = None, as_json: AsJson = False) -> None:
    """Load the configured model and say what it is."""
    from llmos.shell.views import print_model

    print_model(_model_flags(model), as_json=as_json)


@app.command()
def config(as_json: AsJson = False) -> None:
    """List all settings, their values and where each came from."""
    from llmos.shell.views import print_settings

    print_settings(as_json=as_json)


@app.command(name="eval")
def evaluate(
    file: Annotated[Path, typer.Argument(help="Evaluation file, JSON lines.")],
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Run an evaluation file against the model, without running any tool."""
    from llmos.evaluation import run_evaluation

    run_evaluation(file, _model_flags(model), as_json=as_json)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what is installed, what is missing, and the command that mends it."""
    from llmos.doctor import run_doctor

    raise typer.Exit(run_doctor(as_json=as_json))


def _model_flags(model: str | None) -> dict[str, Any]:
    return {} if model is None else {"model": {"path": model}}


def main() -> None:
    """Run the command line; every expected error becomes one line and an exit status."""
    sys.exit(guarded(lambda: app(standalone_mode=True)))


def guarded(command: Callable[[], Any]) -> int:
    """Run a command and return its exit status."""
    from llmos_kernel.errors import ConfigError, LlmosError, ModelError

    try:
        command()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away
        sys.stderr.close()
        return FAILED
    except LlmosError as error:
        print(f"llmos: {error}", file=sys.stderr)
        return USAGE if isinstance(error, ConfigError | ModelError) else FAILED
    return DONE
