"""Fixtures: a model that says what it is told to, in place of the configured one."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import pytest

from llmos import boot
from llmos.cli import app, guarded
from llmos_kernel.engine.fake import FakeEngine, Gate

Reply: TypeAlias = Sequence[str | Gate]
Cli: TypeAlias = Callable[..., tuple[int, str, str]]


@pytest.fixture
def fake_model(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[int, Sequence[Reply]]], None]:
    """Return a function that sets what the model says: for each pid its replies, in parts."""

    def set_replies(by_pid: Mapping[int, Sequence[Reply]]) -> None:
        def load_model(settings: Any, **_: Any) -> Any:
            renderer = boot.load_renderer(settings)

            def script(reply: Reply) -> list[int | Gate]:
                ids: list[int | Gate] = []
                for part in reply:
                    ids += [part] if isinstance(part, Gate) else renderer.content_ids(part)
                return [*ids, renderer.stop_id]

            scripts = {pid: [script(reply) for reply in said] for pid, said in by_pid.items()}
            return renderer, FakeEngine(by_pid=scripts)

        monkeypatch.setattr(boot, "load_model", load_model)

    return set_replies


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Return a function that runs `llmos` here: words in; exit status, stdout and stderr out."""
    monkeypatch.setattr(sys, "stdin", io.StringIO())

    def run(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        status = guarded(lambda: app([str(word) for word in words]))
        return status, *capfd.readouterr()

    return run
