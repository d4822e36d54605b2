"""The remote engine: a server's stream becomes ids that trap as a checkpoint's own would."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from llmos_kernel.abi import Message, Role, ToolCall, ToolSpec
from llmos_kernel.confidence import Calibration
from llmos_kernel.dialects.chat import chat_renderer
from llmos_kernel.engine.base import GenerateRequest
from llmos_kernel.engine.remote.endpoint import Endpoint
from llmos_kernel.engine.remote.engine import RemoteEngine
from llmos_kernel.engine.remote.probe import Probed
from llmos_kernel.engine.remote.vocabulary import Mark, text_ids
from llmos_kernel.errors import ModelError
from llmos_kernel.journal import Journal
from llmos_kernel.kernel import Kernel
from llmos_kernel.larger import LazyModel
from llmos_kernel.policy import approve_all
from llmos_kernel.syscalls import OwnedDriver, SyscallTable
from llmos_kernel.trap import ArgumentDelta, Malformed, Reasoning, Text, Trap, TrapParser

RENDERER = chat_renderer()
CHAT = "/v1/chat/completions"
DONE = b"data: [DONE]\n\n"
SPEC = ToolSpec("echo", "Say it back.", {"type": "object", "properties": {}}, effects=frozenset())


def engine_of(url: str, *, api_key: str | None = None, server: str = "vLLM") -> RemoteEngine:
    return RemoteEngine(Endpoint.at(url, api_key), Probed(server, "m", 4096, 3800))


def asked(text: str = "Hi") -> list[int]:
    ids = [*RENDERER.system_ids("Be brief.", []), *RENDERER.user_ids(text)]
    return [*ids, *RENDERER.assistant_open_ids()]


async def ids_of(
    engine: RemoteEngine, tokens: list[int] | None = None, **options: Any
) -> list[int]:
    options.setdefault("max_new_tokens", 2000)
    request = GenerateRequest(tokens or asked(), RENDERER.stop_id, **options)
    return [token_id async for token_id in engine.generate(request)]


def events_of(ids: list[int]) -> list[Any]:
    parser = TrapParser(RENDERER)
    found = [event for token_id in ids for event in parser.feed(token_id)] + parser.finish()
    joined: list[Any] = []
    for event in found:
        if isinstance(event, ArgumentDelta):
            continue
        if joined and isinstance(event, Text | Reasoning) and type(joined[-1]) is type(event):
            joined[-1] = type(event)(joined[-1].text + event.text)
        else:
            joined.append(event)
    return joined


def call_piece(index: int | None = 0, **parts: Any) -> dict[str, Any]:
    """Return one tool call delta; `name` and `arguments` go into its function."""
    function = {key: parts.pop(key) for key in ("name", "arguments") if key in parts}
    place = {} if index is None else {"index": index}
    return {**place, **parts, "function": function}


def calls(*pieces: dict[str, Any]) -> dict[str, Any]:
    return {"tool_calls": list(pieces)}


WEATHER = Trap("weather", {"city": "Oslo"})
TIME = Trap("time", {})
WEATHER_JSON = '{"city": "Oslo"}'

# As each server streams a text and a call: the deltas, then why the reply ended.
SHAPES: dict[str, list[tuple[dict[str, Any], str | None]]] = {
    "vLLM": [
        ({"role": "assistant", "content": ""}, None),
        ({"content": "Let me"}, None),
        ({"content": " see."}, None),
        (calls(call_piece(0, id="chatcmpl-tool-1", type="function", name="weather")), None),
        (calls(call_piece(0, arguments='{"city": "')), None),
        (calls(call_piece(0, arguments='Oslo"}')), None),
        (calls(call_piece(1, id="chatcmpl-tool-2", type="function", name="time")), None),
        (calls(call_piece(1, arguments="{}")), None),
        ({"content": ""}, "tool_calls"),
    ],
    "SGLang": [
        ({"role": "assistant", "content": "", "reasoning_content": None, "tool_calls": None}, None),
        ({"content": "Let me see.", "reasoning_content": None, "tool_calls": None}, None),
        (calls(call_piece(0, id="call_a", type="function", name="weather", arguments="")), None),
        (calls(call_piece(0, id=None, name=None, arguments='{"city": ')), None),
        (calls(call_piece(0, id=None, name=None, arguments='"Oslo"}')), None),
        (calls(call_piece(1, id="call_b", type="function", name="time", arguments="")), None),
        (calls(call_piece(1, id=None, name=None, arguments="{}")), None),
        ({"content": None, "reasoning_content": None, "tool_calls": None}, "tool_calls"),
    ],
    "llama.cpp": [
        ({"role": "assistant", "content": None}, None),
        ({"content": "Let me see."}, None),
        (calls(call_piece(0, id="X1", type="function", name="weather", arguments="{")), None),
        (calls(call_piece(0, arguments='"city":"Oslo"')), None),
        (calls(call_piece(0, arguments="}")), None),
        (calls(call_piece(1, id="X2", type="function", name="time", arguments="{}")), None),
        ({}, "tool_calls"),
    ],
    "Ollama": [
        ({"role": "assistant", "content": "Let me see."}, None),
        (calls(call_piece(0, id="call_1", name="weather", arguments=WEATHER_JSON)), None),
        (calls(call_piece(0, id="call_2", name="time", arguments="{}")), None),
        ({"role": "assistant", "content": ""}, "tool_calls"),
    ],
    "LM Studio": [
        ({"role": "assistant", "content": "Let me see."}, None),
        (calls(call_piece(0, id="365174485", type="function", name="weather", arguments="")), None),
        (calls(call_piece(0, arguments='{"city":')), None),
        (calls(call_piece(0, arguments='"Oslo"}')), None),
        (calls(call_piece(1, id="365174486", type="function", name="time", arguments="")), None),
        ({}, "tool_calls"),
    ],
    "both calls at once, no ids": [
        (
            {
                "content": "Let me see.",
                **calls(call_piece(None, name="weather", arguments=WEATHER_JSON)),
            },
            None,
        ),
        (calls(call_piece(None, name="time"), call_piece(None, arguments="{}")), "stop"),
    ],
    "in turns by index": [
        ({"content": "Let me see."}, None),
        (calls(call_piece(0, id="a", name="weather"), call_piece(1, id="b", name="time")), None),
        (calls(call_piece(0, arguments='{"city":')), None),
        (calls(call_piece(1, arguments="{")), None),
        (calls(call_piece(0, arguments='"Oslo"}'), call_piece(1, arguments="}")), None),
        ({}, "tool_calls"),
    ],
    "all of index 0, arguments in pieces": [
        ({"content": "Let me see."}, None),
        (calls(call_piece(0, id="a", name="weather"), call_piece(0, arguments='{"city":')), None),
        (calls(call_piece(0, arguments='"Oslo"}')), None),
        (calls(call_piece(0, id="b", name="time"), call_piece(0, arguments="{")), None),
        (calls(call_piece(0, arguments="}")), "tool_calls"),
    ],
    "arguments as an object, every piece named": [
        ({"content": "Let me see."}, None),
        (calls(call_piece(0, id="a", name="weather", arguments={"city": "Oslo"})), None),
        (calls(call_piece(1, id="b", name="time")), None),
        (calls(call_piece(1, id="b", name="time", arguments="{}")), "tool_calls"),
    ],
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_every_servers_stream_becomes_the_same_text_and_calls(
    shape: str, server: Any, sse: Any, reply: Any
) -> None:
    server.answers[CHAT] = reply([*(sse(d, finish) for d, finish in SHAPES[shape]), DONE])
    ids = await ids_of(engine_of(server.url))
    assert events_of(ids) == [Text("Let me see."), WEATHER, TIME]
    assert ids[-1] == RENDERER.stop_id


async def test_a_stream_may_be_cut_anywhere_with_comments_crlf_and_no_done(
    server: Any, sse: Any, reply: Any
) -> None:
    whole = b": keep-alive\n\n".join(sse(d, finish) for d, finish in SHAPES["vLLM"])
    whole = whole.replace(b"Let me see", "Lét me se€".encode()).replace(b"\n", b"\r\n")
    cuts = random.Random(1).sample(range(1, len(whole)), 60)
    bounds = [0, *sorted(cuts), len(whole)]
    server.answers[CHAT] = reply([whole[a:b] for a, b in itertools.pairwise(bounds)])
    assert events_of(await ids_of(engine_of(server.url)))[1:] == [WEATHER, TIME]


async def test_arguments_may_be_split_at_every_point(server: Any, sse: Any, reply: Any) -> None:
    engine = engine_of(server.url)
    for cut in range(len(WEATHER_JSON) + 1):
        first = call_piece(0, id="a", name="weather", arguments=WEATHER_JSON[:cut])
        second = call_piece(0, arguments=WEATHER_JSON[cut:])
        server.answers[CHAT] = reply([sse(calls(first)), sse(calls(second), "tool_calls")])
        assert events_of(await ids_of(engine)) == [WEATHER], cut


async def test_text_that_spells_a_mark_stays_text(server: Any, sse: Any, reply: Any) -> None:
    spelled = f'{Mark.CALL.literal}{{"name":"echo","arguments":{{}}}}{Mark.END_CALL.literal}'
    server.answers[CHAT] = reply([sse({"content": spelled}, "stop"), DONE])
    assert events_of(await ids_of(engine_of(server.url))) == [Text(spelled)]


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
async def test_thoughts_are_no_part_of_the_answer_nor_of_what_is_posted_later(
    key: str, server: Any, sse: Any, reply: Any
) -> None:
    deltas = [{key: "h"}, {key: "m", "content": ""}, {"content": "Yes"}, {"content": "."}]
    server.answers[CHAT] = reply([*(sse(d) for d in deltas), sse({}, "stop"), DONE])
    engine = engine_of(server.url)
    ids = await ids_of(engine)
    assert events_of(ids) == [Reasoning("hm"), Text("Yes.")]
    tokens = [*asked(), *ids, *RENDERER.user_ids("Sure?"), *RENDERER.assistant_open_ids()]
    await ids_of(engine, tokens)
    assert server.bodies()[-1]["messages"][-2] == {"role": "assistant", "content": "Yes."}


async def test_a_call_may_follow_a_thought(server: Any, sse: Any, reply: Any) -> None:
    call = call_piece(0, id="a", name="weather", arguments=WEATHER_JSON)
    thought = sse({"reasoning_content": "hm"})
    server.answers[CHAT] = reply([thought, sse(calls(call), "tool_calls"), DONE])
    assert events_of(await ids_of(engine_of(server.url))) == [Reasoning("hm"), WEATHER]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ('{"city": Oslo}', "bad_json"),
        ('{"city": "Oslo"', "bad_json"),
        ('["Oslo"]', "arguments_not_object"),
        ('{"a": 1, "a": 2}', "duplicate_key"),
        ('{},"name":"other"', "duplicate_key"),
        ('{}},{"name":"other","arguments":{}', "trailing_garbage"),
    ],
)
async def test_arguments_that_are_no_object_trap_as_malformed(
    arguments: str, reason: str, server: Any, sse: Any, reply: Any
) -> None:
    piece = call_piece(0, id="a", name="weather", arguments=arguments)
    server.answers[CHAT] = reply([sse(calls(piece), "tool_calls"), DONE])
    [event] = events_of(await ids_of(engine_of(server.url)))
    assert isinstance(event, Malformed)
    assert event.reason == reason
    assert arguments in event.raw


async def test_a_reply_cut_at_its_limit_leaves_its_last_call_open(
    server: Any, sse: Any, reply: Any
) -> None:
    one = call_piece(0, id="a", name="weather", arguments=WEATHER_JSON)
    two = call_piece(1, id="b", name="weather", arguments=WEATHER_JSON)
    server.answers[CHAT] = reply([sse(calls(one, two), "length"), DONE])
    ids = await ids_of(engine_of(server.url))
    first, second = events_of(ids)
    assert first == WEATHER
    assert isinstance(second, Malformed)
    assert second.reason == "truncated"
    assert RENDERER.stop_id not in ids


async def test_a_text_cut_at_its_limit_has_no_stop(server: Any, sse: Any, reply: Any) -> None:
    server.answers[CHAT] = reply([sse({"content": "and so"}, "length"), DONE])
    assert await ids_of(engine_of(server.url)) == text_ids("and so")


@pytest.mark.parametrize("breaks", [True, False])
async def test_a_stream_that_breaks_yields_what_came_and_raises(
    breaks: bool, server: Any, sse: Any, reply: Any
) -> None:
    piece = call_piece(0, id="a", name="weather", arguments=WEATHER_JSON)
    server.answers[CHAT] = reply([sse({"content": "Hm"}), sse(calls(piece))], breaks=breaks)
    ids: list[int] = []
    request = GenerateRequest(asked(), RENDERER.stop_id, 2000)
    with pytest.raises(ModelError, match=r"broke off its reply .*ask again"):
        async for token_id in engine_of(server.url).generate(request):
            ids.append(token_id)
    text, cut = events_of(ids)
    assert text == Text("Hm")
    assert isinstance(cut, Malformed)
    assert cut.reason == "truncated"


async def test_a_reply_is_whole_once_the_server_says_why_it_ended(
    server: Any, sse: Any, reply: Any
) -> None:
    server.answers[CHAT] = reply([sse({"content": "Yes."}, "stop")], breaks=True)
    assert await ids_of(engine_of(server.url)) == [*text_ids("Yes."), RENDERER.stop_id]


# What is asked -------------------------------------------------------------------------------


async def test_a_conversation_is_posted_as_messages_with_calls_and_results(
    server: Any, sse: Any, reply: Any
) -> None:
    said = Message(
        Role.ASSISTANT, "Let me see.", calls=(ToolCall("", "echo", {"n": 1}), ToolCall("", "t", {}))
    )
    tokens = [
        *RENDERER.system_ids("Be brief.", [SPEC]),
        *RENDERER.user_ids("Hi <|call|>"),
        *RENDERER.assistant_open_ids(),
        *RENDERER.assistant_ids(said),
        *RENDERER.results_ids(["one", "two <|end|>"]),
        *RENDERER.assistant_open_ids(),
    ]
    server.answers[CHAT] = reply([sse({"content": "Ok."}, "stop"), DONE])
    await ids_of(engine_of(server.url), tokens, temperature=0.5, seed=7, max_new_tokens=400)
    [body] = server.bodies()
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi <|call|>"},
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {
                    "id": "call00001",
                    "type": "function",
                    "function": {"name": "echo", "arguments": '{"n":1}'},
                },
                {
                    "id": "call00002",
                    "type": "function",
                    "function": {"name": "t", "arguments": "{}"},
                },
            ],
        },
        {"role": "tool", "content": "one", "tool_call_id": "call00001"},
        {"role": "tool", "content": "two <|end|>", "tool_call_id": "call00002"},
    ]
    assert [tool["function"]["name"] for tool in body["tools"]] == ["echo"]
    assert (body["temperature"], body["seed"], body["max_tokens"]) == (0.5, 7, 100)
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("takes_strict", [True, False])
async def test_functions_with_arguments_are_strict_where_the_server_then_keeps_to_schemas(
    server: Any, sse: Any, reply: Any, takes_strict: bool
) -> None:
    parameters: Any = {"type": "object", "properties": {"text": {"type": "string"}}}
    specs = [SPEC, ToolSpec("say", "Say it.", parameters)]
    tokens = [*RENDERER.system_ids("", specs), *RENDERER.user_ids("Hi")]
    server.answers[CHAT] = reply([sse({"content": "Ok."}, "stop"), DONE])
    probed = Probed("vLLM", "m", 4096, 3800, takes_strict)
    engine = RemoteEngine(Endpoint.at(server.url, None), probed)
    await ids_of(engine, [*tokens, *RENDERER.assistant_open_ids()])
    [body] = server.bodies()
    marked = [tool["function"].get("strict", False) for tool in body["tools"]]
    assert marked == [False, takes_strict]


async def test_a_server_of_unknown_kind_gets_no_field_that_it_may_refuse(
    server: Any, sse: Any, reply: Any
) -> None:
    server.answers[CHAT] = reply([sse({"content": "Ok."}, "stop"), DONE])
    await ids_of(engine_of(server.url, server="another server"))
    assert set(server.bodies()[0]) == {
        "model", "messages", "stream", "temperature", "seed", "max_tokens",
    }  # fmt: skip


@pytest.mark.parametrize("body", ['{"name":"echo","arguments":{"n"}', "no call at all", "["])
async def test_a_malformed_call_of_the_past_is_posted_as_valid_json(
    body: str, server: Any, sse: Any, reply: Any
) -> None:
    tokens = [
        *RENDERER.user_ids("Hi"),
        *RENDERER.assistant_open_ids(),
        *[Mark.CALL, *text_ids(body), Mark.END_CALL, RENDERER.stop_id],
        *RENDERER.results_ids(["error: not valid JSON"]),
        *RENDERER.assistant_open_ids(),
    ]
    server.answers[CHAT] = reply([sse({"content": "Ok."}, "stop"), DONE])
    await ids_of(engine_of(server.url), tokens)
    function = server.bodies()[0]["messages"][1]["tool_calls"][0]["function"]
    assert function["name"] in ("echo", "unknown")
    written = json.loads(function["arguments"])["malformed"]
    assert written
    assert written in body


async def test_what_does_not_end_where_the_model_speaks_is_refused(server: Any) -> None:
    for tokens in (RENDERER.user_ids("Hi"), RENDERER.user_ids("Hi")[:-1]):
        with pytest.raises(ModelError, match="does not end where the model is to speak"):
            await ids_of(engine_of(server.url), tokens)
    assert not server.requests


async def test_a_begun_reply_goes_on_after_its_beginning(server: Any, sse: Any, reply: Any) -> None:
    server.answers[CHAT] = reply([sse({"content": "Yes, it is."}, "stop"), DONE])
    begun = [*asked(), *text_ids("Yes, ")]
    assert events_of(await ids_of(engine_of(server.url), begun)) == [Text("it is.")]
    with pytest.raises(ModelError, match="something else"):
        await ids_of(engine_of(server.url), [*asked(), *text_ids("No, ")])


async def test_the_share_that_the_server_held_is_counted_by_process(
    server: Any, sse: Any, reply: Any
) -> None:
    usage = {"prompt_tokens": 100, "prompt_tokens_details": {"cached_tokens": 75}}
    end = sse({"content": "Ok."}, "stop")
    server.answers[CHAT] = reply([end, sse(choices=[], usage=usage), DONE])
    engine = engine_of(server.url)
    await ids_of(engine, pid=3)
    assert engine.cache_use(3).share == 0.75
    assert engine.cache_use(4).num_prompt_tokens == 0
    engine.release(3)
    assert engine.cache_use(3).num_prompt_tokens == 0


async def test_the_limit_of_ids_ends_the_stream(server: Any, sse: Any, reply: Any) -> None:
    server.answers[CHAT] = reply(_endless(sse))
    assert await ids_of(engine_of(server.url), max_new_tokens=5) == text_ids("again")
    assert await asyncio.to_thread(server.hung_up.wait, 20)


# The life of a stream ------------------------------------------------------------------------


def _endless(sse: Callable[..., bytes]) -> Iterator[bytes]:
    while True:
        yield sse({"content": "again and "})


async def test_closing_the_iterator_ends_the_stream(server: Any, sse: Any, reply: Any) -> None:
    server.answers[CHAT] = reply(_endless(sse))
    request = GenerateRequest(asked(), RENDERER.stop_id, 10**9)
    async with aclosing(engine_of(server.url).generate(request)) as ids:
        assert await anext(ids) == ord("a")
    assert await asyncio.to_thread(server.hung_up.wait, 20)


async def test_the_deadline_ends_a_stream_that_is_silent(server: Any, sse: Any, reply: Any) -> None:
    def pieces() -> Iterator[bytes]:
        yield sse({"content": "Hm"})
        server.released.wait(60)

    server.answers[CHAT] = reply(pieces())
    ids = await ids_of(engine_of(server.url), deadline=time.monotonic() + 1)
    assert ids == text_ids("Hm")


async def test_many_requests_are_at_work_at_once(server: Any, sse: Any, reply: Any) -> None:
    everyone = threading.Barrier(12, timeout=30)

    def answer(body: Any) -> Any:
        everyone.wait()
        return reply([sse({"content": body["messages"][-1]["content"]}, "stop"), DONE])

    server.answers[CHAT] = answer
    engine = engine_of(server.url)
    replies = await asyncio.gather(
        *(ids_of(engine, asked(f"number {pid}"), pid=pid) for pid in range(12))
    )
    assert [events_of(ids) for ids in replies] == [[Text(f"number {pid}")] for pid in range(12)]


async def test_a_closed_engine_takes_no_request(server: Any) -> None:
    engine = engine_of(server.url)
    engine.close()
    with pytest.raises(ModelError, match="closed"):
        await ids_of(engine)


# Errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, {"error": {"message": "no such key"}}, r"401 \(no such key\); set model.api_key"),
        (404, {"message": "no model 'm'"}, r"404 \(no model 'm'\); check .* model.name"),
        (400, {"error": "too long"}, r"400 \(too long\); .*start the server with a longer one"),
        (422, {"detail": [{"loc": "seed"}]}, r"422 \(\[\{\"loc\": \"seed\"\}\]\)"),
        (500, b"<html>\nboom</html>", r"500 \(<html> boom</html>\); see the server's own log"),
    ],
)
async def test_a_refusal_is_one_line_that_says_what_to_do(
    status: int, body: Any, message: str, server: Any, reply: Any
) -> None:
    server.answers[CHAT] = reply(body, status)
    with pytest.raises(ModelError, match=message) as caught:
        await ids_of(engine_of(server.url))
    assert "\n" not in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_server_is_asked_again_when_it_says(
    status: int, server: Any, sse: Any, reply: Any
) -> None:
    busy = reply({"error": "busy"}, status, {"Retry-After": "0"})
    server.answers[CHAT] = [busy, busy, reply([sse({"content": "Yes."}, "stop"), DONE])]
    assert events_of(await ids_of(engine_of(server.url))) == [Text("Yes.")]
    server.answers[CHAT] = busy
    with pytest.raises(ModelError, match="stayed busy"):
        await ids_of(engine_of(server.url))
    assert len(server.requests) == 3 + 4


async def test_a_redirect_is_not_followed(server: Any, reply: Any) -> None:
    server.answers[CHAT] = reply({}, 307, {"Location": "http://elsewhere.example/v1"})
    with pytest.raises(ModelError, match=r"redirects to 'http://elsewhere.example/v1'"):
        await ids_of(engine_of(server.url, api_key="secret"))


async def test_a_server_that_is_not_there_cannot_be_reached() -> None:
    with pytest.raises(ModelError, match=r"cannot be reached .*start the server"):
        await ids_of(engine_of("http://127.0.0.1:9/v1"))


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([b'data: {"error": {"message": "out of memory"}}\n\n'], "reports: out of memory"),
        ([b"data: {nonsense\n\n"], "an event that is no JSON"),
        ([b"data: []\n\n"], "no JSON object"),
        ([b'data: {"choices": [{"delta": {"content": 5}}]}\n\n'], "an event of unknown form"),
        ([b'data: {"choices": [{"delta": {"tool_calls": [7]}}]}\n\n'], "an event of unknown form"),
    ],
)
async def test_a_stream_that_goes_wrong_is_one_clear_line(
    pieces: list[bytes], message: str, server: Any, reply: Any
) -> None:
    server.answers[CHAT] = reply(pieces)
    with pytest.raises(ModelError, match=message):
        await ids_of(engine_of(server.url))


async def test_a_reply_that_is_no_stream_is_refused(server: Any) -> None:
    server.answers[CHAT] = {"choices": []}
    with pytest.raises(ModelError, match="does not stream its replies"):
        await ids_of(engine_of(server.url))


async def test_the_key_is_sent_and_never_shown(server: Any, reply: Any) -> None:
    server.answers[CHAT] = reply({"error": "no"}, 401)
    with pytest.raises(ModelError) as caught:
        await ids_of(engine_of(server.url, api_key=" top-secret\n"))
    assert server.headers[0]["authorization"] == "Bearer top-secret"
    assert "top-secret" not in str(caught.value)
    with pytest.raises(ModelError, match="characters that no key has") as caught:
        engine_of(server.url, api_key="top secret")
    assert "top" not in str(caught.value)


# The kernel over it --------------------------------------------------------------------------


def kernel_of(server: Any, folder: Path, *tools: Any) -> Kernel:
    table = SyscallTable(OwnedDriver(tool, "the test") for tool in tools)
    return Kernel(
        engine_of(server.url), RENDERER, table, Journal(folder / "journal.db"),
        workspace=folder, model="m", approve=approve_all,
    )  # fmt: skip


async def test_the_kernel_runs_a_servers_calls_and_gives_it_the_results(
    server: Any, sse: Any, reply: Any, tmp_path: Path, make_tool: Any
) -> None:
    tool = make_tool()
    call = call_piece(0, id="whatever", name="echo", arguments='{"text": "hello"}')
    server.answers[CHAT] = [
        reply([sse({"content": "One moment."}), sse(calls(call), "tool_calls"), DONE]),
        reply([sse({"content": "It said hello."}, "stop"), DONE]),
    ]
    kernel = kernel_of(server, tmp_path, tool)
    process = kernel.start("say hello")
    assert await kernel.turn(process, "say hello") == "It said hello."
    await kernel.close()
    assert tool.calls == [{"text": "hello"}]
    first, second = server.bodies()
    assert second["messages"][: len(first["messages"])] == first["messages"]
    assert second["messages"][-1] == {
        "role": "tool", "content": "echo hello", "tool_call_id": "call00001",
    }  # fmt: skip


def _unsure(token_id: int) -> float:
    return -1.0


async def test_a_step_that_a_checkpoint_doubts_is_handed_over_to_a_server(
    server: Any, sse: Any, reply: Any, make_system: Any, make_tool: Any, says: Any, request: Any
) -> None:
    tool = make_tool()
    call = call_piece(0, id="whatever", name="echo", arguments='{"text": "hello"}')
    server.answers[CHAT] = reply([sse(calls(call), "tool_calls"), DONE])
    engine = engine_of(server.url)
    system = make_system(
        [request.getfixturevalue("calls")(("echo", {"text": "bye"})), says("It said hello.")],
        tool,
        log_probability=_unsure,
        calibration=Calibration(),
        ask_below=0.5,
        larger=LazyModel(
            server.url, lambda: (RENDERER, engine), max_step_tokens=100, ids_per_token=4
        ),
    )
    process = system.kernel.start("say hello")
    assert await system.kernel.turn(process, "say hello") == "It said hello."
    await system.kernel.close()
    assert tool.calls == [{"text": "hello"}]
    (body,) = server.bodies()
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert [tool["function"]["name"] for tool in body["tools"]] == ["echo"]
    assert body["max_tokens"] == 100
    (event,) = system.bodies("hand_over")
    assert (event["model"], event["reason"]) == (server.url, "stop")


async def test_an_answer_that_the_server_cuts_short_is_an_answer(
    server: Any, sse: Any, reply: Any, tmp_path: Path
) -> None:
    server.answers[CHAT] = reply([sse({"content": "It is"}, "length"), DONE])
    kernel = kernel_of(server, tmp_path)
    process = kernel.start("what is it")
    assert await kernel.turn(process, "what is it") == "It is"
    await kernel.close()
