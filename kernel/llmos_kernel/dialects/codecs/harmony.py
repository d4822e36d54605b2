"""Harmony, gpt-oss's messages: a header says who is spoken to and on which channel.

Knows nothing of token ids; which mark ends a header is the trap parser's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmos_kernel.abi import ToolCall, ToolSpec
from llmos_kernel.dialects.codecs.codec import (
    Call,
    Markup,
    Pieces,
    Refused,
    checked_name,
    is_name,
    mark,
    refuse_marks,
)
from llmos_kernel.dialects.codecs.lark import Rules, either, json_arguments, quoted
from llmos_kernel.dialects.codecs.strict_json import dump, read_arguments

START, END_MESSAGE = "<|start|>", "<|end|>"
CHANNEL, MESSAGE, CONSTRAIN = "<|channel|>", "<|message|>", "<|constrain|>"
NAMESPACE = "functions."
CHANNELS = ("analysis", "commentary", "final")


@dataclass(frozen=True, slots=True)
class Header:
    """`recipient` is empty where a message is for the user."""

    channel: str
    recipient: str


@dataclass(frozen=True, slots=True)
class HarmonyCodec:
    """A body is a message with its header: what follows the role, the mark, the arguments."""

    marks: tuple[str, ...] = (CHANNEL, MESSAGE, CONSTRAIN)
    end_of_header: str = MESSAGE

    def header(self, text: str) -> Header:
        """Read a header: a recipient may stand before the channel or after it."""
        before, _, after = text.partition(mark(0))
        after = after.partition(mark(2))[0]
        words = after.split()
        recipients = [w.removeprefix("to=") for w in [*before.split(), *words] if w[:3] == "to="]
        channel = words[0] if words and not words[0].startswith("to=") else ""
        return Header(channel, recipients[0] if recipients else "")

    def read(self, body: str, specs: Mapping[str, ToolSpec]) -> list[Call]:
        head, divided, _ = body.partition(mark(1))
        start = len(head) + len(divided)
        header = self.header(head)
        if header.channel != "commentary":
            raise Refused("bad_shape", "a call goes to the channel 'commentary'")
        name = header.recipient.removeprefix(NAMESPACE)
        if not header.recipient.startswith(NAMESPACE) or not is_name(name):
            raise Refused("bad_shape", "a call is sent to 'functions.' and the name of a tool")
        refuse_marks(body, start)
        return [(name, read_arguments(body, start))]

    def grammar(self, rules: Rules, specs: Sequence[ToolSpec]) -> str:
        """The recipient stands before the channel or after it, as models write either."""
        kinds = ['" json"']
        if mark(2) in rules.mark_ids:
            kinds.append(f'" "? {rules.text(mark(2))} "json"')
        kind = f"({' | '.join(kinds)})?"
        return either(
            f"({rules.text(f' to={name}{mark(0)}commentary')} | "
            f"{rules.text(f'{mark(0)}commentary to={name}')}) "
            f"{kind} {rules.text(mark(1))} {json_arguments(rules, spec)}"
            for spec, name in ((spec, NAMESPACE + spec.name) for spec in specs)
        )

    def header_of_text(self, rules: Rules) -> str:
        """Return an expression for the header of a message that is no call."""
        return f"{rules.text(mark(0))} {either(map(quoted, CHANNELS))} {rules.text(mark(1))}"

    def write(self, calls: Sequence[ToolCall]) -> list[Pieces]:
        return [
            [
                f" to={NAMESPACE}{checked_name(call.name)}",
                Markup(f"{CHANNEL}commentary json{MESSAGE}"),
                dump(dict(call.arguments)),
            ]
            for call in calls
        ]
