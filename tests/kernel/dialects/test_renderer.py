"""Rendering: content never becomes a control token, and matches what the model was trained on."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from llmos_kernel.abi import Message, Role, ToolCall, ToolSpec
from llmos_kernel.dialects.dialect import EMBEDDED, SYSTEM_PROMPT, Frame
from llmos_kernel.dialects.families.chatml import HERMES
from llmos_kernel.dialects.renderer import Renderer, detect_dialect
from llmos_kernel.dialects.tool_table import openai_schema
from llmos_kernel.errors import ModelError

MODEL = Path(__file__).parents[3] / "kernel" / "llmos_kernel" / "model"
LITERALS = ["<tool_call>", "</tool_call>", "<|end|>", "<|user|>", "<|assistant|>", "<|pad|>"]
TOOLS = [
    ToolSpec(
        "draw",
        "Make an image.",
        {
            "type": "object",
            "properties": {
                "prompt": {"type": "string", "description": "what to draw"},
                "size": {"type": "string", "enum": ["small", "large"]},
                "tags": {"type": "array", "items": {"type": "string"}},
                "seed": {"type": "integer"},
            },
            "required": ["prompt"],
        },
    ),
    ToolSpec("now", "The time.", {"type": "object", "properties": {}, "required": []}),
]


@given(st.lists(st.one_of(st.text(), st.sampled_from(LITERALS)), max_size=8).map("".join))
@settings(max_examples=500)
def test_content_never_holds_a_control_id_and_decodes_to_itself(
    renderer: Renderer, text: str
) -> None:
    ids = renderer.content_ids(text)
    assert not renderer.control_ids & set(ids)
    assert renderer.text(ids) == text.encode(errors="replace").decode()


def test_content_is_safe_from_several_threads_at_once(renderer: Renderer) -> None:
    def encode(number: int) -> bool:
        content = renderer.content_ids(f"{number}<tool_call>{number}</tool_call><|end|>")
        control = renderer.literal_ids("<tool_call>")
        return control == [renderer.call_open_id] and not renderer.control_ids & set(content)

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(encode, range(2000)))


def test_the_chat_template_renders_the_same_ids(renderer: Renderer) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(MODEL)
    call = ToolCall("1", "draw", {"prompt": 'a red "kite" – über\nall', "seed": 7})
    messages = [
        {"role": "system", "content": SYSTEM_PROMPT},
        {"role": "user", "content": " draw it\n"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "type": "function",
                    "function": {"name": call.name, "arguments": dict(call.arguments)},
                }
            ],
        },
        {"role": "tool", "content": "saved"},
        {"role": "assistant", "content": "Here it is."},
        {"role": "user", "content": "thanks"},
    ]
    tools = [openai_schema(tool) for tool in TOOLS]
    expected = [
        *renderer.system_ids(SYSTEM_PROMPT, TOOLS),
        *renderer.user_ids(" draw it\n"),
        *renderer.assistant_open_ids(),
        *renderer.assistant_ids(Message(Role.ASSISTANT, calls=(call,))),
        *renderer.results_ids(["saved"]),
        *renderer.assistant_open_ids(),
        *renderer.assistant_ids(Message(Role.ASSISTANT, "Here it is.")),
        *renderer.user_ids("thanks"),
        *renderer.assistant_open_ids(),
    ]
    for conversation in (messages, messages[1:]):  # without a system message it writes our own
        rendered = tokenizer.apply_chat_template(
            conversation, tools=tools, add_generation_prompt=True, return_dict=True
        )
        assert rendered["input_ids"] == expected


def tokenizer_with(*added: str) -> Tokenizer:
    """Return the embedded tokenizer with other control tokens."""
    state = json.loads((MODEL / "tokenizer.json").read_text())
    state["added_tokens"] = [
        {**token, "content": content, "special": True}
        for token, content in zip(state["added_tokens"], added, strict=False)
    ]
    vocabulary = {t: i for t, i in state["model"]["vocab"].items() if i >= len(added)}
    state["model"]["vocab"] = {c: i for i, c in enumerate(added)} | vocabulary
    return Tokenizer.from_str(json.dumps(state))


def test_a_hermes_checkpoint_is_recognised_by_its_tokens() -> None:
    tokenizer = tokenizer_with("<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>")
    assert detect_dialect(tokenizer) is HERMES
    renderer = Renderer(tokenizer, HERMES)
    assert renderer.text(renderer.user_ids("hi")) == "user\nhi\n"
    ids = renderer.results_ids(["a", "b"])
    assert [i for i in ids if i in renderer.control_ids] == [0, 1]
    assert renderer.text(ids) == (
        "user\n<tool_response>\na\n</tool_response>\n<tool_response>\nb\n</tool_response>\n"
    )


def test_a_checkpoint_of_no_known_family_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"known are embedded, .*hermes"):
        detect_dialect(tokenizer_with("<s>", "</s>"))


def test_a_named_dialect_that_does_not_fit_is_refused_with_the_missing_token() -> None:
    tokenizer = tokenizer_with("<s>", "</s>")
    with pytest.raises(ModelError, match="no single token for '<|system|>'".replace("|", r"\|")):
        Renderer(tokenizer, detect_dialect(tokenizer, name=EMBEDDED.name))


def test_an_unknown_dialect_is_refused(renderer: Renderer) -> None:
    with pytest.raises(ModelError, match="unknown dialect 'klingon'"):
        detect_dialect(tokenizer_with("<s>"), name="klingon")


def test_a_tokenizer_that_writes_blanks_as_underscores_is_read_and_written() -> None:
    words = [*"\N{LOWER ONE EIGHTH BLOCK}abü", "<0xF0>", "<0x9F>", "<0xA6>", "<0x8A>"]
    model = models.BPE({word: i for i, word in enumerate(words)}, [], byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first", split=False)
    tokenizer.add_special_tokens(list(HERMES.controls))
    renderer = Renderer(tokenizer, HERMES)
    own = tokenizer.encode("<|im_end|>a b ü🦊", add_special_tokens=False).ids
    assert [renderer.stop_id, *renderer.content_ids("a b ü🦊")] == own
    assert renderer.text(own) == "a b ü🦊"


def test_a_tokenizer_that_makes_a_control_token_from_text_is_refused() -> None:
    tokenizer = tokenizer_with("<|im_start|>", "<|im_end|>", "a", "</tool_call>")
    dialect = replace(HERMES, controls=("<|im_start|>", "<|im_end|>", "a", "</tool_call>"))
    renderer = Renderer(tokenizer, replace(dialect, call=Frame("a", "</tool_call>")))
    with pytest.raises(ModelError, match="makes the control token 'a' from plain text"):
        renderer.user_ids("a")


def test_an_added_token_that_is_no_control_token_is_a_word() -> None:
    tokenizer = tokenizer_with("<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>")
    tokenizer.add_tokens(["<té>"])
    renderer = Renderer(tokenizer, HERMES)
    word = tokenizer.token_to_id("<té>")
    assert word not in renderer.control_ids
    assert renderer.text([word, renderer.stop_id]) == "<té>"
