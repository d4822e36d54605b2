"""The command line: parses words, calls one function for each command, maps errors to exit codes.

Imports neither torch nor the kernel until a command needs them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from llmos.cli_tools import tools_app

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    add_completion=False,
    no_args_is_help=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(tools_app, name="tools")
schedule_app = typer.Typer(no_args_is_help=True, help="Tasks that run later.")
app.add_typer(schedule_app, name="schedule")
mcp = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(mcp, name="mcp", help="The Model Context Protocol: servers of others, and our own.")

Model = Annotated[
    str | None, typer.Option("--model", help="Checkpoint folder or hub name; default: embedded.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Events = Annotated[bool, typer.Option("--json", help="Print one event a line.")]
Yes = Annotated[bool, typer.Option("--yes", help="Allow every call that needs a yes.")]
Deny = Annotated[bool, typer.Option("--deny", help="Deny every such call.")]
Pid = Annotated[
    int,
    typer.Argument(min=1, max=2**63 - 1, help="A process, as `llmos ps --all` lists it."),
]


@app.callback(invoke_without_command=True)
def shell(
    context: typer.Context,
    model: Model = None,
    voice: Annotated[
        bool, typer.Option("--voice", help="Talk instead of typing: listen, act, speak, in turns.")
    ] = False,
    voice_from: Annotated[
        list[Path] | None,
        typer.Option(help="A recording to listen to in the microphone's place; with --voice."),
    ] = None,
    voice_to: Annotated[
        Path | None,
        typer.Option(help="A folder for the spoken answers, as WAV files; with --voice."),
    ] = None,
) -> None:
    """An operating system whose kernel is a local language model.

    Without a command, opens the interactive shell.
    """
    if context.invoked_subcommand is None:
        from llmos.shell.session import run_shell
        from llmos.shell.voice import voice_options

        talk = voice_options(voice, tuple(voice_from or ()), voice_to)
        raise typer.Exit(run_shell(_model_flags(model), talk))


@app.command()
def run(
    task: Annotated[str, typer.Argument(help="What is to be done, in plain language.")],
    model: Model = None,
    attach: Annotated[
        list[Path] | None, typer.Option(help="A file to copy into the workspace as input.")
    ] = None,
    as_json: Events = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the calls and run none.")
    ] = False,
    tools: Annotated[
        Path | None,
        typer.Option(help="JSON file of further tools (OpenAI form), for --dry-run."),
    ] = None,
    yes: Yes = False,
    deny: Deny = False,
    nice: Annotated[int, typer.Option(help="-20 to 19; a smaller one gets more of the model.")] = 0,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="The most tokens that it may generate.")
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(min=0, help="The longest that it may take.")
    ] = None,
) -> None:
    """Run one task; the answer goes to stdout, the steps to stderr.

    Text on stdin is input for the task.
    """
    from llmos.shell.foreground import ForegroundOptions
    from llmos.shell.task import RunOptions, run_task
    from llmos_kernel.process import Budget

    budget = Budget(max_tokens, max_seconds)
    options = RunOptions(tuple(attach or ()), dry_run, tools, nice, budget)
    shown = ForegroundOptions(as_json, yes, deny)
    raise typer.Exit(run_task(task, options, shown, _model_flags(model)))


@app.command()
def ps(
    show_all: Annotated[bool, typer.Option("--all", "-a", help="Also those that ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """List processes: those that live, and those that a dead kernel left behind."""
    from llmos.shell.processes import print_processes

    print_processes(show_all=show_all, as_json=as_json)


@app.command()
def top() -> None:
    """Show the processes and their speeds, anew each second, until q or Ctrl-C."""
    from llmos.shell.top import show_top

    show_top()


@app.command()
def kill(
    pid: Pid,
    signal: Annotated[
        str, typer.Option("--signal", "-s", help="interrupt, stop, continue or kill.")
    ] = "kill",
) -> None:
    """Signal a process of a running kernel; without --signal, end it."""
    from llmos.shell.steering import send_signal

    send_signal(pid, signal)


@app.command(context_settings={"ignore_unknown_options": True})
def nice(
    pid: Pid,
    value: Annotated[int, typer.Argument(help="-20 to 19; a smaller one gets more of the model.")],
) -> None:
    """Change a process's share of the model."""
    from llmos.shell.steering import renice

    renice(pid, value)


@app.command()
def fork(
    pid: Pid,
    at: Annotated[
        int | None, typer.Option(help="The last event to take over, as `llmos strace` numbers it.")
    ] = None,
    as_json: Events = False,
    yes: Yes = False,
    deny: Deny = False,
) -> None:
    """Make a process with another's past, which goes on by itself.

    Where a kernel runs the other, the new one runs there and its pid is printed; else it runs here.
    """
    from llmos.shell.foreground import ForegroundOptions
    from llmos.shell.steering import fork_process

    raise typer.Exit(fork_process(pid, at, ForegroundOptions(as_json, yes, deny)))


@app.command()
def resume(pid: Pid, as_json: Events = False, yes: Yes = False, deny: Deny = False) -> None:
    """Let a stopped process go on, or one whose kernel died: that one runs here."""
    from llmos.shell.foreground import ForegroundOptions
    from llmos.shell.steering import resume_process

    raise typer.Exit(resume_process(pid, ForegroundOptions(as_json, yes, deny)))


@app.command()
def strace(
    pid: Pid,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what it does, until it ends.")
    ] = False,
    replay: Annotated[
        bool, typer.Option("--replay", help="Run the record again and check that it is the same.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show all that a process did, from the journal."""
    from llmos.shell.strace import TraceMode, print_trace

    mode = TraceMode.of(is_followed=follow, is_replayed=replay)
    print_trace(pid, mode, as_json=as_json)


@schedule_app.command(name="list")
def list_schedules(
    show_all: Annotated[
        bool, typer.Option("--all", "-a", help="Also those that are over.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List what is scheduled, when it is due and what its last run came to."""
    from llmos.shell.schedules import print_schedules

    print_schedules(show_all=show_all, as_json=as_json)


@schedule_app.command(name="add")
def add_schedule(
    task: Annotated[str, typer.Argument(help="What is to be done, in plain language.")],
    when: Annotated[str, typer.Option(help="Such as 'tomorrow at 9', 'every monday 18:00'.")],
) -> None:
    """Have a task run later, once or again and again."""
    from llmos.shell.schedules import add_schedule

    add_schedule(task, when)


@schedule_app.command(name="remove")
def remove_schedule(
    number: Annotated[int, typer.Argument(help="As `llmos schedule list` numbers it.")],
) -> None:
    """Take a schedule out."""
    from llmos.shell.schedules import remove_schedule

    remove_schedule(number)


@schedule_app.command(name="run")
def run_schedules(model: Model = None) -> None:
    """Wait in the foreground and run what is due, until Ctrl-C."""
    from llmos.shell.schedules import run_schedules

    raise typer.Exit(run_schedules(_model_flags(model)))


@schedule_app.command(name="unit")
def print_unit() -> None:
    """Print a systemd user unit that does `llmos schedule run`."""
    from llmos.shell.schedules import print_unit

    print_unit()


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
    tools: Annotated[
        Path | None,
        typer.Option(help="JSON file of tools (OpenAI form) to stand beside the installed ones."),
    ] = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Run an evaluation file against the model, without running any tool."""
    from llmos.evaluation import run_evaluation

    run_evaluation(file, _model_flags(model), more_tools=tools, as_json=as_json)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what is installed, what is missing, and the command that mends it."""
    from llmos.doctor import run_doctor

    raise typer.Exit(run_doctor(as_json=as_json))


@mcp.command(name="list")
def list_servers(
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Start every server and ask for its tools anew.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the servers of mcp.json, whether their tools are known, and the tools."""
    from llmos.shell.mcp import print_servers

    print_servers(is_refreshed=refresh, as_json=as_json)


@mcp.command()
def serve(
    tool: Annotated[
        list[str] | None, typer.Option("--tool", help="A tool to offer; default: all.")
    ] = None,
    http: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Serve over HTTP at this port of 127.0.0.1."),
    ] = None,
    yes: Yes = False,
) -> None:
    """Offer the installed tools to any client, over stdin and stdout or over HTTP.

    Calls that need a yes are denied without --yes.
    """
    from llmos.shell.mcp import serve as serve_tools

    serve_tools(tool or [], port=http, is_allowed=yes)


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
