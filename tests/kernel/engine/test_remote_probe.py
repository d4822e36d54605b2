"""An endpoint is asked what it runs, and shown to read what llmos needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmos_kernel.engine.remote.endpoint import Endpoint
from llmos_kernel.engine.remote.engine import RemoteEngine
from llmos_kernel.engine.remote.probe import PROOF_TOKENS, Probed, probe
from llmos_kernel.errors import ModelError

CHAT = "/v1/chat/completions"


def models(*names: str, **entry: Any) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": name, "object": "model", **entry} for name in names]}


def reads(*, at_most: int = 10**9, per_word: int = 1, **usage: Any) -> Any:
    """Answer as a server that reads so much of a prompt, its template beside the words."""

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        assert body["max_tokens"] == 1
        num = 12 + per_word * len(body["messages"][0]["content"].split())
        return {"choices": [], "usage": usage or {"prompt_tokens": min(num, at_most)}}

    return answer


def probed(server: Any, *, name: str | None = None, proofs: Path | None = None) -> Probed:
    return probe(Endpoint.at(server.url, None), name, proofs)


def as_vllm(server: Any, length: int = 32768) -> None:
    server.answers["/v1/models"] = models("m", owned_by="vllm", max_model_len=length)


def as_sglang(server: Any, length: int = 32768) -> None:
    server.answers["/v1/models"] = models("m", owned_by="sglang", max_model_len=length)


def as_llama_cpp(server: Any, length: int = 32768) -> None:
    server.answers["/v1/models"] = models("m", owned_by="llamacpp", meta={"n_ctx_train": 10**6})
    server.answers["/props"] = {"default_generation_settings": {"n_ctx": length}, "total_slots": 1}


def as_ollama(server: Any, length: int = 32768) -> None:
    """Answer as Ollama: a model is not loaded before it is first asked."""
    server.answers["/v1/models"] = models("m:latest", owned_by="library")

    def running(_: Any) -> dict[str, Any]:
        loaded = {"name": "m:latest", "model": "m:latest", "context_length": length}
        return {"models": [loaded] if server.bodies() else []}

    server.answers["/api/ps"] = running


def as_lm_studio(server: Any, length: int = 32768) -> None:
    server.answers["/v1/models"] = models("m", owned_by="organization_owner")
    entry: dict[str, Any] = {"id": "m", "max_context_length": 10**6}
    server.answers["/api/v0/models"] = {"data": [entry]}

    def shown(_: Any) -> dict[str, Any]:
        return {**entry, "loaded_context_length": length} if server.bodies() else entry

    server.answers["/api/v0/models/m"] = shown


SERVERS = {
    "vLLM": (as_vllm, "--max-model-len"),
    "SGLang": (as_sglang, "--context-length"),
    "llama.cpp": (as_llama_cpp, "llama-server -c"),
    "Ollama": (as_ollama, "OLLAMA_CONTEXT_LENGTH="),
    "LM Studio": (as_lm_studio, "lms load MODEL --context-length"),
}


@pytest.mark.parametrize("kind", SERVERS)
def test_each_server_is_known_with_the_context_that_it_has_loaded(kind: str, server: Any) -> None:
    SERVERS[kind][0](server)
    server.answers[CHAT] = reads()
    found = probed(server)
    assert (found.server, found.context) == (kind, 32768)
    assert found.model.removesuffix(":latest") == "m"
    assert abs(found.num_proved - PROOF_TOKENS) < 50


@pytest.mark.parametrize("kind", SERVERS)
def test_a_context_that_is_too_short_is_refused_with_what_mends_it(kind: str, server: Any) -> None:
    become, remedy = SERVERS[kind]
    become(server, 2048)
    server.answers[CHAT] = reads()
    with pytest.raises(ModelError, match=rf"it is 2048 tokens, llmos needs 4096.*{remedy}"):
        probed(server)


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_cuts_long_prompts_is_caught(kind: str, server: Any) -> None:
    become, remedy = SERVERS[kind]
    become(server)
    server.answers[CHAT] = reads(at_most=2048)
    with pytest.raises(ModelError, match=rf"about 39\d\d tokens it read 2048.*{remedy}"):
        probed(server)


@pytest.mark.parametrize("per_word", [1, 2, 4])
def test_the_proof_fits_into_the_least_context_of_any_tokenizer(per_word: int, server: Any) -> None:
    as_vllm(server)
    server.answers[CHAT] = reads(per_word=per_word)
    assert PROOF_TOKENS - 50 < probed(server).num_proved <= PROOF_TOKENS + 1


def test_an_older_ollama_tells_the_length_among_the_models_own_parameters(server: Any) -> None:
    as_ollama(server)
    server.answers[CHAT] = reads()
    server.answers["/api/ps"] = {"models": [{"name": "m:latest"}]}
    server.answers["/api/show"] = {"parameters": 'stop "<|im_end|>"\nnum_ctx    8192'}
    assert probed(server).context == 8192


def test_of_an_unknown_server_only_what_was_proved_is_believed(server: Any) -> None:
    server.answers["/v1/models"] = models("m")
    server.answers[CHAT] = reads()
    found = probed(server)
    assert (found.server, found.context) == ("another server", None)
    engine = RemoteEngine.connect(server.url, name=None, api_key=None, proofs=None)
    assert engine.context_length == 2 * 4096


def test_a_server_that_does_not_say_what_it_read_is_refused(server: Any) -> None:
    as_vllm(server)
    server.answers[CHAT] = reads(completion_tokens=1)
    with pytest.raises(ModelError, match="does not say how much of a prompt it read"):
        probed(server)


def test_a_model_is_named_where_there_are_several(server: Any) -> None:
    server.answers["/v1/models"] = models("b", "a:latest", owned_by="vllm", max_model_len=8192)
    server.answers[CHAT] = reads()
    with pytest.raises(ModelError, match=r"set model.name; its models are a:latest, b"):
        probed(server)
    with pytest.raises(ModelError, match=r"no model 'c'; its models are a:latest, b"):
        probed(server, name="c")
    assert probed(server, name="a").model == "a:latest"
    assert probed(server, name="b").model == "b"


def test_a_server_without_models_says_so(server: Any) -> None:
    server.answers["/v1/models"] = models()
    with pytest.raises(ModelError, match="none: load one there first"):
        probed(server)


def test_what_was_proved_is_not_proved_again_until_the_length_changes(
    server: Any, tmp_path: Path
) -> None:
    proofs = tmp_path / "state" / "endpoints.json"
    as_vllm(server)
    server.answers[CHAT] = reads()
    first = probed(server, proofs=proofs)
    num_asked = len(server.bodies())
    assert probed(server, proofs=proofs) == first
    assert len(server.bodies()) == num_asked
    as_vllm(server, 8192)
    probed(server, proofs=proofs)
    assert len(server.bodies()) == 2 * num_asked
    proofs.write_text("damaged")
    assert probed(server, proofs=proofs).context == 8192


@pytest.mark.parametrize("found", [[], {"data": [{}]}, {"data": 5}, {"models": []}, b"<html>"])
def test_what_is_no_list_of_models_is_refused(found: Any, server: Any, reply: Any) -> None:
    server.answers["/v1/models"] = reply(found) if isinstance(found, bytes) else lambda _: found
    with pytest.raises(ModelError, match=r"mend model.path"):
        probed(server)


@pytest.mark.parametrize("url", ["http://", "http://[::1/v1", "http://localhost:99999999/v1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ModelError, match=r"model.path|give an address"):
        Endpoint.at(url, None)


@pytest.mark.parametrize(
    ("as_server", "takes_strict"),
    [(as_vllm, True), (as_sglang, True), (as_llama_cpp, False), (as_ollama, False)],
)
def test_servers_that_keep_to_the_schemas_of_strict_functions_are_known(
    server: Any, as_server: Any, takes_strict: bool
) -> None:
    as_server(server)
    server.answers[CHAT] = reads()
    assert probed(server).takes_strict is takes_strict
