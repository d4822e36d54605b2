"""The commands `llmos tools`: what is installed, a new plugin, a check of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

tools_app = typer.Typer(no_args_is_help=False, rich_markup_mode=None)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@tools_app.callback(invoke_without_command=True)
def tools(context: typer.Context, as_json: AsJson = False) -> None:
    """List the installed tools; with a command, write or check a plugin."""
    if context.invoked_subcommand is None:
        from llmos.shell.views import print_tools

        print_tools(as_json=as_json)


@tools_app.command()
def new(
    name: Annotated[str, typer.Argument(help="Its name: small letters, digits, - and _.")],
) -> None:
    """Write a package with one tool, and its tests, into a new folder here."""
    from llmos.new_plugin import write_package

    folder = write_package(name, Path.cwd())
    print(f"{folder.name} is written; check it: llmos tools test {folder.name}")
    print(f"install it: pip install -e {folder.name}")


@tools_app.command()
def test(
    path: Annotated[
        str, typer.Argument(help="A .py file, a package's folder, or a plugin's name.")
    ],
    arguments: Annotated[
        str | None, typer.Option(help="JSON object: what its tools are called with.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a plugin: its descriptions, errors, limits and cancellation."""
    from llmos.plugin_checks import check_plugin, load_plugin
    from llmos.shell.views import print_findings

    plugin = load_plugin(path)
    findings = check_plugin(plugin, _object(arguments))
    print_findings(findings, plugin.digest, as_json=as_json)
    raise typer.Exit(1 if any(finding.state == "failed" for finding in findings) else 0)


def _object(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise typer.BadParameter(f'{text!r} is no JSON object, such as \'{{"city": "Oslo"}}\'')
    return value
