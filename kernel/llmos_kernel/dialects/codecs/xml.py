"""Calls as tags, one element a parameter: Qwen3-Coder, GLM, MiniMax, Seed-OSS, DeepSeek V3.2.

Covered: a delimiter that is a control token cannot be spelled by a value. Where a delimiter is
plain text (Qwen3-Coder, MiniMax, Seed-OSS), a value that holds one is refused, written or read,
as soon as it does not balance. Not covered: a value the model copied that closes its parameter
and opens another, well formed: text cannot tell it from the model's own; policy must.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llmos_kernel.abi import Json, ToolCall, ToolSpec
from llmos_kernel.dialects.codecs.codec import (
    Call,
    Markup,
    Pieces,
    Refused,
    checked_key,
    checked_name,
    is_name,
    mark,
    refuse_marks,
)
from llmos_kernel.dialects.codecs.lark import (
    ANY_TEXT,
    Rules,
    characters,
    either,
    quoted,
    sequence,
    text_without,
)
from llmos_kernel.dialects.codecs.schemas import (
    Argument,
    Schema,
    admits_string,
    arguments_of,
    is_text,
)
from llmos_kernel.dialects.codecs.strict_json import dump, read_whole, skip_blanks
from llmos_kernel.errors import ModelError

PYTHON_CONSTANTS: Mapping[str, bool | None] = {"True": True, "False": False, "None": None}


@dataclass(frozen=True, slots=True)
class Tag:
    """What stands before and after a name; `mark(i)` is the codec's control literal `i`."""

    open: str
    close: str


@dataclass(frozen=True, slots=True)
class XmlCodec:
    """`function` holds a call's name and `parameter` a key, then the value up to `value_end`.

    `function_end` closes a call; `value_start` stands before a value where the key has an element
    of its own; `pad` stands on both sides of a value and is no part of it.
    `scalars` says how a value that is neither string nor container is spelled. With a `call_line`
    one body holds all calls of a step and it follows each; `group` stands around them. With
    `says_type` a parameter's own attribute, not the schema, says whether it is a string.
    """

    function: Tag
    function_end: str
    parameter: Tag
    value_end: str
    value_start: str = ""
    marks: tuple[str, ...] = ()
    pad: str = ""
    scalars: Literal["json", "python"] = "json"
    group: Tag | None = None
    says_type: bool = False
    call_line: str = ""

    # Reading ----------------------------------------------------------------

    def read(self, body: str, specs: Mapping[str, ToolSpec]) -> list[Call]:
        position = skip_blanks(body, 0)
        end = len(body.rstrip())
        if self.group is not None:
            position = skip_blanks(body, self._past(body, position, self.group.open))
            if not body.endswith(self.group.close, position, end):
                raise Refused("bad_shape", "the calls are not closed", end)
            end -= len(self.group.close)
            end = len(body[:end].rstrip())
        calls: list[Call] = []
        while position < end or not calls:
            call, position = self._call(body, position, end, specs)
            position = skip_blanks(body, position)
            calls.append(call)
            if self.group is None and not self.call_line and position < end:
                raise Refused("trailing_garbage", "something follows the call", position)
        return calls

    def _call(
        self, body: str, start: int, end: int, specs: Mapping[str, ToolSpec]
    ) -> tuple[Call, int]:
        name, position = self._named(body, start, end, self.function)
        arguments: dict[str, Json] = {}
        while True:
            position = skip_blanks(body, position)
            if self.function_end and body.startswith(self.function_end, position):
                return (name, arguments), position + len(self.function_end)
            if not self.function_end and position >= end:
                return (name, arguments), position
            key, value, position = self._parameter(body, position, end, specs.get(name))
            if key in arguments:
                raise Refused("duplicate_key", f"the parameter {key!r} occurs twice", position)
            arguments[key] = value

    def _parameter(
        self, body: str, start: int, end: int, spec: ToolSpec | None
    ) -> tuple[str, Json, int]:
        head, position = self._until(body, start, end, self.parameter)
        key, is_string = self._key(head, start, spec)
        if self.value_start:
            position = self._past(body, skip_blanks(body, position), self.value_start)
        close = body.find(self.value_end, position, end)
        if close < 0:
            raise Refused("bad_shape", f"the parameter {key!r} is not closed", position)
        refuse_marks(body, position, close)
        raw = body[position:close]
        self._refuse_delimiters(raw, position)
        return key, self._value(raw, is_string), close + len(self.value_end)

    def _key(self, head: str, start: int, spec: ToolSpec | None) -> tuple[str, bool]:
        if not self.says_type:
            key, is_string = head.strip(), admits_string(spec, head.strip())
        else:
            key, _, rest = head.partition('" string="')
            if rest not in ("true", "false"):
                raise Refused("bad_shape", 'a parameter says string="true" or "false"', start)
            is_string = rest == "true"
        if not is_name(key):
            raise Refused("bad_shape", f"{key[:40]!r} is no parameter's name", start)
        return key, is_string

    def _value(self, raw: str, is_string: bool) -> Json:
        text = raw.removeprefix(self.pad).removesuffix(self.pad)
        if is_string:
            return text
        if self.says_type:
            return read_whole(text)
        if text.strip() in PYTHON_CONSTANTS:
            return PYTHON_CONSTANTS[text.strip()]
        try:
            return read_whole(text)
        except Refused as error:
            if error.reason in ("bad_json", "trailing_garbage"):
                return text  # what it is not, the tool's schema says better
            raise

    def _named(self, body: str, start: int, end: int, tag: Tag) -> tuple[str, int]:
        name, position = self._until(body, start, end, tag)
        if not is_name(name.strip()):
            raise Refused("bad_shape", "a call begins with the name of a tool", start)
        return name.strip(), position

    def _until(self, body: str, start: int, end: int, tag: Tag) -> tuple[str, int]:
        """Return what stands in a tag, and the position behind it."""
        position = self._past(body, start, tag.open)
        if not tag.close:  # a bare name: it ends with its line or at the next mark
            stop = position
            while stop < end and body[stop] != "\n" and not "\ud800" <= body[stop] <= "\udfff":
                stop += 1
            return body[position:stop], stop
        stop = body.find(tag.close, position, end)
        if stop < 0:
            raise Refused("bad_shape", f"{self._shown(tag.close)!r} is missing", position)
        return body[position:stop], stop + len(tag.close)

    def _past(self, body: str, position: int, expected: str) -> int:
        if not body.startswith(expected, position):
            is_inside = position < len(body) and self.value_end in body[:position]
            reason = "ambiguous_delimiter" if is_inside else "bad_shape"
            raise Refused(reason, f"{self._shown(expected)!r} is missing here", position)
        return position + len(expected)

    def _refuse_delimiters(self, value: str, offset: int) -> None:
        for delimiter in self._text_delimiters():
            if delimiter in value:
                detail = f"a parameter's value holds {delimiter!r}: where it ends is not certain"
                raise Refused("ambiguous_delimiter", detail, offset + value.index(delimiter))

    def _text_delimiters(self) -> list[str]:
        """The delimiters that a value could spell: those without a control token."""
        every = (self.function.open, self.function_end, self.parameter.open, self.value_end)
        return [d for d in every if d and not any("\ud800" <= c <= "\udfff" for c in d)]

    def _shown(self, delimiter: str) -> str:
        return "".join(str(piece) for piece in self._pieces(delimiter))

    # Grammar ----------------------------------------------------------------

    def grammar(self, rules: Rules, specs: Sequence[ToolSpec]) -> str:
        call = either(self._grammar_of(rules, spec) for spec in specs)
        if self.group is None and not self.call_line:
            return call
        group = self.group or Tag("", "")
        line = rules.rule(f"{call} {rules.text(self.call_line)}")
        return " ".join([rules.text(group.open + "\n"), f"{line}+", rules.text(group.close)])

    def _grammar_of(self, rules: Rules, spec: ToolSpec) -> str:
        head = f"{self.function.open}{spec.name}{self.function.close}\n"
        members = [
            (self._grammar_of_parameter(rules, each), each.is_required)
            for each in arguments_of(spec)
        ]
        return f"{rules.text(head)} {sequence(rules, members, '')} {rules.text(self.function_end)}"

    def _grammar_of_parameter(self, rules: Rules, argument: Argument) -> str:
        values = self._grammars_of_values(rules, argument)
        joint = f"\n{self.value_start}" if self.value_start else ""
        head, close = self.parameter.open + argument.key, self.parameter.close + joint + self.pad
        line_end = rules.text("\n")
        return either(
            f"{rules.text(head + attribute + close)} {value} {line_end}"
            for attribute, value in values
        )

    def _grammars_of_values(self, rules: Rules, argument: Argument) -> list[tuple[str, str]]:
        """Return, for each way to write a value, the type attribute and an expression."""
        if argument.is_grounded:
            span = rules.span(str, without=self._text_delimiters())
            return [(self._type_attribute(""), self._ended(rules, span))]
        found = argument.branches
        texts = [branch for branch in found if is_text(branch)]
        others = [branch for branch in found if not is_text(branch)]
        if not self.says_type:  # then a value that may be a string is read as one
            texts, others = (texts, []) if texts else ([], others)
        written = [self._grammar_of_text(rules, branch) for branch in texts]
        values = [(self._type_attribute(""), text) for text in written]
        end = self.pad + self.value_end
        return values + [
            (self._type_attribute(None), f"{self._grammar_of_other(rules, b)} {rules.text(end)}")
            for b in others
        ]

    def _grammar_of_text(self, rules: Rules, branch: Schema) -> str:
        if "enum" not in branch:
            return self._ended(rules, self._text_of(branch))
        known = [value for value in branch["enum"] if isinstance(value, str)]
        return f"{either(map(rules.text, known))} {rules.text(self.pad + self.value_end)}"

    def _grammar_of_other(self, rules: Rules, branch: Schema) -> str:
        if "enum" in branch:
            return either(rules.text(self._spelled(value)) for value in branch["enum"])
        match branch.get("type"):
            case "boolean" if self.scalars == "python":
                return '("True" | "False")'
            case "null" if self.scalars == "python":
                return '"None"'
            case _:
                delimiters = self._text_delimiters()
                pattern = f"^{text_without(delimiters)}$" if delimiters else ""
                return rules.json(branch, text_pattern=pattern)

    def _ended(self, rules: Rules, text: str) -> str:
        """Return an expression for text up to and with the end of its value.

        Text before a control token may be any; before text it has to have no delimiter.
        """
        before, control, after = self._divided(self.pad + self.value_end)
        end = quoted(before) if before else ""
        if control:
            return f"{rules.terminal(f'{text} {end}')} {rules.text(control + after)}"
        return rules.shortest(f"{text} {end}")

    def _text_of(self, branch: Schema) -> str:
        """Return an expression for text of the lengths that a schema wants."""
        delimiters = self._text_delimiters()
        counted = characters(branch)
        if not delimiters:
            return counted
        text = f"/{text_without(delimiters)}/"
        return text if counted == ANY_TEXT else f"({counted} & {text})"

    def _divided(self, text: str) -> tuple[str, str, str]:
        """Return what stands before the first mark, the mark, and what follows it."""
        known = [mark(i) for i in range(len(self.marks)) if mark(i) in text]
        if not known:
            return text, "", ""
        return text.partition(min(known, key=text.index))

    # Writing ----------------------------------------------------------------

    def write(self, calls: Sequence[ToolCall]) -> list[Pieces]:
        bodies = [self._body(call) for call in calls]
        if self.group is None and not self.call_line:
            return bodies
        group = self.group or Tag("", "")
        inner = [piece for body in bodies for piece in [*body, self.call_line]]
        return [[*self._pieces(group.open), "\n", *inner, *self._pieces(group.close)]]

    def _body(self, call: ToolCall) -> Pieces:
        pieces = [*self._pieces(self.function.open), checked_name(call.name)]
        pieces += [*self._pieces(self.function.close), "\n"]
        for key, value in call.arguments.items():
            pieces += self._pieces(self.parameter.open)
            pieces += [checked_key(key), self._type_attribute(value)]
            pieces += self._pieces(self.parameter.close)
            pieces += ["\n", *self._pieces(self.value_start)] if self.value_start else []
            pieces += [self.pad + self._text(key, value) + self.pad]
            pieces += [*self._pieces(self.value_end), "\n"]
        return [*pieces, *self._pieces(self.function_end)]

    def _type_attribute(self, value: Any) -> str:
        return f'" string="{str(isinstance(value, str)).lower()}' if self.says_type else ""

    def _text(self, key: str, value: Any) -> str:
        text = self._spelled(value)
        for delimiter in self._text_delimiters():
            if delimiter in text:
                raise ModelError(
                    f"the argument {key!r} holds {delimiter!r}, which this model's form of calls "
                    "cannot tell from its own tags; use a model whose tags are control tokens"
                )
        return text

    def _spelled(self, value: Any) -> str:
        if isinstance(value, str):
            return value
        is_scalar = value is None or isinstance(value, bool)
        return str(value) if is_scalar and self.scalars == "python" else dump(value)

    def _pieces(self, text: str) -> Pieces:
        """Split at marks and put the control literals in their place."""
        for index, literal in enumerate(self.marks):
            if mark(index) in text:
                before, after = text.split(mark(index), 1)
                return [*self._pieces(before), Markup(literal), *self._pieces(after)]
        return [text] if text else []
