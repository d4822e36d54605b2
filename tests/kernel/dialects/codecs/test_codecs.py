"""Codecs on closed bodies: every spelling that is a call, every fault by its name."""

from __future__ import annotations

from typing import Any

import pytest

from llmos_kernel.abi import ToolCall, ToolSpec
from llmos_kernel.dialects.codecs.codec import Codec, Markup, Refused, mark
from llmos_kernel.dialects.dialect import Dialect
from llmos_kernel.dialects.families import DIALECTS

FAMILIES: dict[str, Dialect] = {dialect.name: dialect for dialect in DIALECTS}
PROPERTIES: dict[str, Any] = {
    "s": {"type": "string"},
    "n": {"type": "integer"},
    "o": {"type": "object"},
    "either": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    "linked": {"$ref": "#/$defs/number"},
    "choice": {"enum": [1, 2]},
}
SPEC = ToolSpec(
    "f",
    "",
    {"type": "object", "properties": PROPERTIES, "$defs": {"number": {"type": "number"}}},
)
SPECS = {"f": SPEC}
A, B, C, D = (mark(i) for i in range(4))


def read(name: str, body: str) -> list[tuple[str, Any]]:
    return FAMILIES[name].codec.read(body, SPECS)


def body_of(codec: Codec, arguments: dict[str, Any]) -> str:
    """Return the body of a call as the trap parser hands it over."""
    (pieces,) = codec.write([ToolCall("", "f", arguments)])
    body = ""
    for piece in pieces:
        text = str(piece)
        if isinstance(piece, Markup):
            for index, literal in enumerate(codec.marks):
                text = text.replace(literal, mark(index))
        body += text
    return body


@pytest.mark.parametrize(
    ("name", "body", "arguments"),
    [
        # empty arguments, as families and their models spell them
        ("hermes", '{"name": "f", "arguments": {}}', {}),
        ("hermes", '\n{"arguments" : { } , "name":"f"}\n', {}),
        ("llama3", '{"name": "f", "parameters": {}}', {}),
        ("mistral", '[{"name": "f", "arguments": {}}]', {}),
        ("mistral", '[{"name": "f", "arguments": {}, "id": "abcdefghi"}]', {}),
        ("mistral_args", f"f{A}{{}}", {}),
        ("mistral_call_id", f"f{B}abcdefghi{A} {{ }} ", {}),
        ("deepseek_v3", f"function{A}f\n```json\n{{}}\n```", {}),
        ("kimi_k2", f"functions.f:12{A}{{}}", {}),
        ("lfm2", "[f()]", {}),
        ("lfm2", "[ f ( ) ]\n", {}),
        ("olmo3", "f()", {}),
        ("gemma4", "call:f{}", {}),
        ("glm4.5", "f\n", {}),
        ("glm4.5", "f", {}),
        ("qwen_coder", "\n<function=f>\n</function>\n", {}),
        ("qwen_coder", "<function=f></function>", {}),
        ("minimax_m2", '<invoke name="f"></invoke>', {}),
        # strings stay strings, and keep their indentation
        ("qwen_coder", "<function=f>\n<parameter=s>\n7\n</parameter>\n</function>", {"s": "7"}),
        ("qwen_coder", "<function=f><parameter=s>true</parameter></function>", {"s": "true"}),
        ("qwen_coder", "<function=f><parameter=s>null</parameter></function>", {"s": "null"}),
        ("qwen_coder", "<function=f><parameter=new>7</parameter></function>", {"new": "7"}),
        ("qwen_coder", "<function=f><parameter=either>null</parameter></function>", {"either": "null"}),
        ("qwen_coder", "<function=f><parameter=s>\n\n  x\n\n</parameter></function>", {"s": "\n  x\n"}),
        ("seed_oss", "<function=f><parameter=s>\n x\n</parameter></function>", {"s": "\n x\n"}),
        ("glm4.5", f"f\n{A}s{B}\n{C}  7 {D}\n", {"s": "  7 "}),
        ("glm4.5", f"f{A}s{B}{C}</arg_value>{D}", {"s": "</arg_value>"}),
        # and numbers numbers
        ("qwen_coder", "<function=f>\n<parameter=n>\n7\n</parameter>\n</function>", {"n": 7}),
        ("qwen_coder", "<function=f><parameter=linked>1.5</parameter></function>", {"linked": 1.5}),
        ("qwen_coder", "<function=f><parameter=choice>2</parameter></function>", {"choice": 2}),
        ("qwen_coder", '<function=f><parameter=o>{"a": [1]}</parameter></function>', {"o": {"a": [1]}}),
        ("qwen_coder", "<function=f><parameter=n>True</parameter></function>", {"n": True}),
        ("qwen_coder", "<function=f><parameter=n>seven</parameter></function>", {"n": "seven"}),
        ("gemma4", f"call:f{{n:7,s:{A}7{A}}}", {"n": 7, "s": "7"}),
        ("functiongemma", f"call:f{{o:{{a:[1,{A}}}{A}],b:null}}}}", {"o": {"a": [1, "}"], "b": None}}),
        # quotes within quotes
        ("lfm2", """[f(s='say "hi"')]""", {"s": 'say "hi"'}),
        ("lfm2", '''[f(s="it's")]''', {"s": "it's"}),
        ("lfm2", r"[f(s='it\'s \\ \x41 \u00e9 \ud83e\udd8a\n')]", {"s": "it's \\ A é 🦊\n"}),
        ("lfm2", """[f(s=')]', o={"a": [')', 'x=1', true, None]})]""", {"s": ")]", "o": {"a": [")", "x=1", True, None]}}),
        ("olmo3", 'f(n=-7, s="a\\"b")', {"n": -7, "s": 'a"b'}),
    ],
)  # fmt: skip
def test_a_body_that_is_a_call(name: str, body: str, arguments: dict[str, Any]) -> None:
    assert read(name, body) == [("f", arguments)]


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("llama3", '{"name": "f", "parameters": {}} {"name": "f", "parameters": {}}', "trailing_garbage"),
        ("llama3", '{"name": "f", "parameters": {}}; ', "bad_json"),
        ("llama3", '{"name": "f", "parameters": []}', "arguments_not_object"),
        ("hermes", '{"name": "f", "arguments": null}', "arguments_not_object"),
        ("hermes", '{"name": "f", "arguments": "{}"}', "arguments_not_object"),
        ("hermes", f'{{"name": "f", "arguments": {{"s": "{C}"}}}}', "ambiguous_delimiter"),
        ("mistral", '{"name": "f", "arguments": {}}', "bad_shape"),
        ("mistral", "[]", "bad_shape"),
        ("mistral", '[{"name": "f", "arguments": {}}], then', "trailing_garbage"),
        ("mistral", '[{"name": "f", "arguments": {"a": 1, "a": 2}}]', "duplicate_key"),
        ("phi4", '[{"name": "f", "arguments": {}}]', "bad_shape"),
        ("mistral_args", "f{}", "bad_shape"),
        ("mistral_args", f"f{A}", "bad_json"),
        ("mistral_args", f"f{A}[]", "arguments_not_object"),
        ("mistral_args", f"f{A}{{}} so", "trailing_garbage"),
        ("mistral_args", f"f g{A}{{}}", "bad_shape"),
        ("mistral_args", f"f{A}{{}}{A}{{}}", "ambiguous_delimiter"),
        ("deepseek_v3", f"function{A}f\n```json\n{{}}", "bad_shape"),
        ("deepseek_v3", f"f{A}{{}}", "bad_shape"),
        ("kimi_k2", f"functions.f{A}{{}}", "bad_shape"),
        ("kimi_k2", f"functions.f:0{A}{{", "bad_json"),
        ("kimi_k2", f'functions.f:0{A}{{"a": NaN}}', "non_finite"),
        ("lfm2", "f()", "bad_shape"),
        ("lfm2", "[]", "bad_shape"),
        ("lfm2", "[f()] so", "trailing_garbage"),
        ("lfm2", "[f(]", "bad_shape"),
        ("lfm2", "[f(1)]", "bad_shape"),
        ("lfm2", "[f(s='it's')]", "bad_json"),
        ("lfm2", "[f(s='a', s='b')]", "duplicate_key"),
        ("lfm2", "[f(o={'a': 1, 'a': 2})]", "duplicate_key"),
        ("lfm2", "[f(s=__import__('os'))]", "bad_json"),
        ("lfm2", "[f(s=f'{x}')]", "bad_json"),
        ("lfm2", "[f(n=1+1)]", "bad_json"),
        ("lfm2", "[f(n=nan)]", "non_finite"),
        ("lfm2", "[f(n=1e999)]", "non_finite"),
        ("lfm2", "[f(n=01)]", "bad_json"),
        ("lfm2", r"[f(s='\ud800')]", "lone_surrogate"),
        ("lfm2", r"[f(s='\q')]", "bad_json"),
        ("lfm2", r"[f(s='\U7fffffff')]", "bad_json"),
        ("lfm2", "[f(s='a", "bad_json"),
        ("gemma4", "f{}", "bad_shape"),
        ("gemma4", "call:f{", "bad_json"),
        ("gemma4", f"call:f{{s:{A}a}}", "bad_json"),
        ("gemma4", f"call:f{{s:{A}a{B}{A}}}", "ambiguous_delimiter"),
        ("gemma4", "call:f{n:1,n:2}", "duplicate_key"),
        ("gemma4", "call:f{s:abc}", "bad_json"),
        ("gemma4", "call:f{}call:f{}", "trailing_garbage"),
        ("glm4.5", f"f\n{A}s{B}\n{C}a", "bad_shape"),
        ("glm4.5", f"f\n{A}s{B}\n{C}a{D}\n{A}s{B}\n{C}b{D}", "duplicate_key"),
        ("glm4.5", f"f\n{A}s{B}\n{C}a{C}{D}", "ambiguous_delimiter"),
        ("glm4.5", f"f\n{A}s{B}\n{C}a{D} so", "ambiguous_delimiter"),
        ("qwen_coder", "", "bad_shape"),
        ("qwen_coder", "<function=f>\n<parameter=s>\na\n</parameter>\n", "bad_shape"),
        ("qwen_coder", "<function=f>\n<parameter=s>\na\n", "bad_shape"),
        ("qwen_coder", "<function=f></function> so", "trailing_garbage"),
        ("qwen_coder", "<function=f></function><function=f></function>", "trailing_garbage"),
        ("qwen_coder", "<function=f g></function>", "bad_shape"),
        ("qwen_coder", "<function=f><parameter=s>a</parameter>b</parameter></function>", "ambiguous_delimiter"),
        ("qwen_coder", "<function=f><parameter=s>a<parameter=n>1</parameter></function>", "ambiguous_delimiter"),
        ("qwen_coder", "<function=f><parameter=s>a</parameter><parameter=s>b</parameter></function>", "duplicate_key"),
        ("qwen_coder", '<function=f><parameter=o>{"a": 1, "a": 2}</parameter></function>', "duplicate_key"),
        ("qwen_coder", "<function=f><parameter=n>NaN</parameter></function>", "non_finite"),
        ("deepseek_v3.2", f'function_calls>\n<{A}invoke name="f">\n</{A}invoke>\n', "bad_shape"),
        (
            "deepseek_v3.2",
            f'function_calls>\n<{A}invoke name="f">\n<{A}parameter name="s" string="false">abc'
            f"</{A}parameter>\n</{A}invoke>\n</{A}function_calls>",
            "bad_json",
        ),
        (
            "deepseek_v3.2",
            f'function_calls>\n<{A}invoke name="f">\n<{A}parameter name="s">a</{A}parameter>\n'
            f"</{A}invoke>\n</{A}function_calls>",
            "bad_shape",
        ),
    ],
)  # fmt: skip
def test_a_body_with_a_fault_is_named(name: str, body: str, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        read(name, body)
    assert refused.value.reason == reason
    assert 0 <= refused.value.offset <= len(body)


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("name", FAMILIES)
def test_a_thousand_levels_are_too_deep_and_a_megabyte_is_not(name: str) -> None:
    codec = FAMILIES[name].codec
    with pytest.raises(Refused) as refused:
        codec.read(_deep(body_of(codec, {"o": "DEEP"}), name), SPECS)
    assert refused.value.reason == "too_deep"
    long = {"s": "a\\'\"é\n" * 170_000}
    assert codec.read(body_of(codec, long), SPECS) == [("f", long)]


def _deep(body: str, name: str) -> str:
    """Put a list a thousand levels deep in the place of a string, with its quotes."""
    deep = "[" * 1000 + "]" * 1000
    quote = {"lfm2": "'", "gemma4": A, "functiongemma": A}.get(name, '"')
    body = body.replace('string="true">DEEP', 'string="false">DEEP')
    return body.replace(f"{quote}DEEP{quote}", deep).replace("DEEP", deep)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_flood_of_blanks_is_read_once(name: str) -> None:
    codec = FAMILIES[name].codec
    body = body_of(codec, {"n": 7}) + " \n" * 200_000
    assert codec.read(body, SPECS) == [("f", {"n": 7})]


def test_the_offset_of_a_stray_control_token_is_its_own_place() -> None:
    body = f"f\n{A}s{B}\n{C}ab{A}{D}"
    with pytest.raises(Refused) as refused:
        read("glm4.5", body)
    assert body[refused.value.offset :] == f"{A}{D}"
