"""What a tool is told of its caller: the label of what that has read, its user's words, the time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llmos_kernel.abi import CallContext, Effect, JsonObject, Label, Output, ToolSpec
from llmos_kernel.policy import approve_all

MISSING = Path("/missing")
NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass
class Witness:
    """A tool that keeps what it was told, and answers with a label of its own."""

    name: str
    label: Label
    is_held: bool = False
    effects: frozenset[Effect] = frozenset()
    contexts: list[CallContext] = field(default_factory=list)

    @property
    def spec(self) -> ToolSpec:
        return ToolSpec(self.name, "See.", NO_ARGUMENTS, self.effects, is_repeatable=True)

    async def call(self, arguments: JsonObject, context: CallContext) -> Output:
        self.contexts.append(context)
        if self.is_held:
            await asyncio.Event().wait()
        return Output("seen", label=self.label)

    async def close(self) -> None:
        pass


def witnesses() -> tuple[Witness, Witness]:
    return Witness("inside", Label.TRUSTED), Witness("outside", Label.UNTRUSTED)


async def test_what_was_read_from_outside_labels_all_later_calls(
    make_system: Callable[..., Any], calls: Callable[..., Any], says: Callable[..., Any]
) -> None:
    inside, outside = witnesses()
    replies = [calls((name, {})) for name in ("inside", "inside", "outside", "inside")]
    system = make_system([*replies, says("Done.")], inside, outside)
    await system.kernel.wait(system.kernel.spawn("look around").pid)
    assert [context.label for context in inside.contexts] == ["trusted", "trusted", "untrusted"]
    assert [context.label for context in outside.contexts] == ["trusted"]
    assert inside.contexts[0].user_messages == ("look around",)
    assert inside.contexts[0].home == system.journal.path.parent


@pytest.mark.parametrize(("names", "label"), [("inside", "trusted"), ("outside", "untrusted")])
async def test_a_resumed_process_is_told_the_same_again(
    names: str,
    label: str,
    make_system: Callable[..., Any],
    calls: Callable[..., Any],
    says: Callable[..., Any],
) -> None:
    inside, outside = witnesses()
    script = [calls((names, {})), calls(("inside", {})), says("Done.")]
    first = make_system(script, inside, outside)
    await first.kernel.wait(first.kernel.spawn("look around").pid)
    events = list(first.journal.events(1))
    asked = [number for number, event in enumerate(events) if event.kind == "tool_call"][1]
    left = first.journal.add_process("look around", "fake", events=events[: asked + 1])
    again = Witness("inside", Label.TRUSTED)
    second = make_system([says("Done.")], again, Witness("outside", Label.UNTRUSTED))
    assert await second.kernel.wait(second.kernel.resume(left).pid) == "Done."
    (told,) = again.contexts
    assert (told.label, told.user_messages) == (label, ("look around",))
    assert told.asked_at == inside.contexts[-1].asked_at == events[asked].time


async def test_a_child_s_task_is_not_its_user_s_word(
    make_system: Callable[..., Any], calls: Callable[..., Any], says: Callable[..., Any]
) -> None:
    inside, outside = witnesses()
    system = make_system([calls(("inside", {})), says("Done.")], inside, outside)
    parent = system.kernel.start("shell")
    await system.kernel.wait(system.kernel.spawn("do it", parent=parent.pid).pid)
    (told,) = inside.contexts
    assert (told.label, told.user_messages) == (Label.UNTRUSTED, ())


async def test_while_nobody_attends_what_needs_a_yes_is_denied(
    make_system: Callable[..., Any], calls: Callable[..., Any], says: Callable[..., Any]
) -> None:
    tool = Witness("outside", Label.UNTRUSTED, effects=frozenset({Effect.NETWORK}))
    said = [calls(("outside", {})), says("Done.")]
    system = make_system([*said, *said], tool, approve=approve_all)
    await system.kernel.wait(system.kernel.spawn("go out", is_attended=False).pid)
    assert tool.contexts == []
    assert [body["status"] for body in system.bodies("tool_result")] == ["denied"]
    await system.kernel.wait(system.kernel.spawn("go out").pid)
    assert len(tool.contexts) == 1


def test_a_text_is_trusted_where_nothing_from_outside_can_have_steered_it() -> None:
    context = CallContext(1, MISSING, label=Label.UNTRUSTED, user_messages=("Note: I like  TEA.",))
    assert context.label_of("i like tea") is Label.TRUSTED
    assert context.label_of("i like coffee") is Label.UNTRUSTED
    assert context.label_of(" ") is Label.UNTRUSTED
    assert CallContext(1, MISSING, label=Label.TRUSTED).label_of("x") is Label.TRUSTED
