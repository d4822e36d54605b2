"""Finds out what an endpoint really runs: which server, which model, how long a context.

A length that a server tells is believed only after a prompt of the least length that llmos needs
went through whole, since some servers cut long prompts and say nothing. Knows no conversation.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmos_kernel.engine.remote.endpoint import Endpoint
from llmos_kernel.errors import ModelError

LEAST_CONTEXT = 4096
# The rest of the least context is for the template and the answer.
PROOF_TOKENS = 3900
FEW_WORDS, MORE_WORDS = 100, 300
TOLERANCE = 0.02
# What hosts call the length in their lists of models.
LENGTH_KEYS = ("max_model_len", "context_length", "context_window", "max_context_length")
MAX_LISTED = 20


@dataclass(frozen=True, slots=True)
class Server:
    """A kind of server; `remedy` is what gives its models a longer context.

    `owner` is how its list of models says whose they are, `length` reads how long the context of
    a loaded model is, None where that is not known before it is loaded. `takes_strict` says that
    it holds a model to the schema of a function that is marked as strict, and to no other's.
    """

    name: str
    owner: str
    remedy: str
    length: Callable[[Endpoint, dict[str, Any]], int | None]
    takes_strict: bool = False


@dataclass(frozen=True, slots=True)
class Probed:
    """What was found. `context` and `num_proved` are counted in the model's own tokens.

    `context` is None where the server does not tell it.
    """

    server: str
    model: str
    context: int | None
    num_proved: int
    takes_strict: bool = False

    @property
    def is_known_server(self) -> bool:
        return self.server != UNKNOWN.name


def _listed_length(endpoint: Endpoint, entry: dict[str, Any]) -> int | None:
    return next((int(entry[key]) for key in LENGTH_KEYS if entry.get(key)), None)


def _llama_cpp_length(endpoint: Endpoint, entry: dict[str, Any]) -> int | None:
    return int(endpoint.get(f"{endpoint.root}/props")["default_generation_settings"]["n_ctx"])


def _ollama_length(endpoint: Endpoint, entry: dict[str, Any]) -> int | None:
    """Read the length of the loaded model; for older servers that of its own parameters."""
    running = _list(endpoint, "/api/ps", "models") or []
    loaded = [model for model in running if entry["id"] in (model["name"], model.get("model"))]
    if not loaded:
        return None
    if loaded[0].get("context_length"):
        return int(loaded[0]["context_length"])
    shown = endpoint.post(f"{endpoint.root}/api/show", {"model": entry["id"]})
    parameters = dict(
        line.split(maxsplit=1) for line in shown.get("parameters", "").splitlines() if " " in line
    )
    return int(parameters["num_ctx"]) if "num_ctx" in parameters else None


def _lm_studio_length(endpoint: Endpoint, entry: dict[str, Any]) -> int | None:
    found = endpoint.get(f"{endpoint.root}/api/v0/models/{entry['id']}")
    length = found.get("loaded_context_length")
    return int(length) if length else None


VLLM = Server("vLLM", "vllm", "vllm serve ... --max-model-len 16384", _listed_length, True)
SGLANG = Server("SGLang", "sglang", "--context-length 16384", _listed_length, True)
LLAMA_CPP = Server("llama.cpp", "llamacpp", "llama-server -c 16384", _llama_cpp_length)
OLLAMA = Server("Ollama", "library", "OLLAMA_CONTEXT_LENGTH=16384 ollama serve", _ollama_length)
LM_STUDIO = Server(
    "LM Studio", "organization_owner", "lms load MODEL --context-length 16384", _lm_studio_length
)
UNKNOWN = Server("another server", "", "its own setting for a longer context", _listed_length)


def probe(endpoint: Endpoint, name: str | None, proofs: Path | None) -> Probed:
    """Ask an endpoint what it runs; blocks, the first time as long as a long prompt takes.

    `proofs` is a file that remembers what was proved, so that it is proved once.

    Raises:
        ModelError: the endpoint cannot be used, or its context is too short for llmos.
    """
    try:
        entries: list[dict[str, Any]] = endpoint.get(f"{endpoint.url}/models")["data"]
        server = _server(endpoint, entries)
        entry = _chosen(endpoint, entries, name, is_whole_list=server is not UNKNOWN)
        context = server.length(endpoint, entry)
        if context is None and server is not UNKNOWN:
            _num_read(endpoint, entry["id"], 1)  # it loads a model when it is first used
            context = server.length(endpoint, entry)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{endpoint.url} does not say in a known form what it runs ({error!r}); mend model.path"
        ) from error
    if context is not None and context < LEAST_CONTEXT:
        raise _too_short(server, entry["id"], f"it is {context} tokens")
    num_proved = _proved(endpoint, server, entry["id"], context, proofs)
    return Probed(server.name, entry["id"], context, num_proved, server.takes_strict)


def _server(endpoint: Endpoint, entries: list[dict[str, Any]]) -> Server:
    """Tell the server by its list of models, else by the addresses of its own."""
    owners = {entry.get("owned_by") for entry in entries}
    for server in (VLLM, SGLANG, LLAMA_CPP):
        if server.owner in owners:
            return server
    if _list(endpoint, "/api/v0/models", "data") is not None:
        return LM_STUDIO
    return UNKNOWN if _list(endpoint, "/api/ps", "models") is None else OLLAMA


def _list(endpoint: Endpoint, path: str, key: str) -> list[dict[str, Any]] | None:
    """Return a list that only one kind of server has."""
    try:
        found = endpoint.get(endpoint.root + path)
    except ModelError:
        return None
    value = found.get(key) if isinstance(found, dict) else None
    return value if isinstance(value, list) else None


def _chosen(
    endpoint: Endpoint, entries: list[dict[str, Any]], name: str | None, *, is_whole_list: bool
) -> dict[str, Any]:
    """Return the entry of the named model, or of the only one."""
    by_name = {entry["id"]: entry for entry in entries}
    if name is None and len(entries) == 1:
        return entries[0]
    for known in (name, f"{name}:latest"):
        if known in by_name:
            return by_name[known]
    if name is not None and not is_whole_list:
        return {"id": name}
    listed = ", ".join(sorted(by_name)[:MAX_LISTED]) or "none: load one there first"
    problem = "set model.name" if name is None else f"there is no model {name!r}"
    raise ModelError(f"{endpoint.url}: {problem}; its models are {listed}")


def _num_read(endpoint: Endpoint, model: str, num_words: int) -> int:
    """Return how many tokens the server says it read of a prompt of so many words."""
    messages = [{"role": "user", "content": "Hello " * num_words}]
    body = {"model": model, "messages": messages, "max_tokens": 1, "temperature": 0}
    reply: dict[str, Any] = endpoint.post(f"{endpoint.url}/chat/completions", body)
    count = (reply.get("usage") or {}).get("prompt_tokens")
    if not isinstance(count, int):
        raise ModelError(
            f"{endpoint.url} does not say how much of a prompt it read, so it may cut long ones; "
            "use a server that fills `usage` in"
        )
    return count


def _proved(
    endpoint: Endpoint, server: Server, model: str, context: int | None, proofs: Path | None
) -> int:
    """Return how many tokens of a long prompt the server read, now or when it was asked before.

    Two short prompts tell how many tokens of the model a word is.
    """
    known = _read_proofs(proofs)
    key = f"{endpoint.url} {model} {server.name} {context}"
    if key in known:
        return known[key]
    few, more = (_num_read(endpoint, model, words) for words in (FEW_WORDS, MORE_WORDS))
    per_word = max((more - few) / (MORE_WORDS - FEW_WORDS), 0.1)
    num_words = MORE_WORDS + int((PROOF_TOKENS - more) / per_word)
    expected = more + per_word * (num_words - MORE_WORDS)
    num_read = _num_read(endpoint, model, num_words)
    if abs(num_read - expected) > TOLERANCE * expected:
        found = f"of a prompt of about {expected:.0f} tokens it read {num_read}"
        raise _too_short(server, model, found)
    if proofs is not None:
        proofs.parent.mkdir(parents=True, exist_ok=True)
        proofs.write_text(json.dumps(known | {key: num_read}, indent=1))
    return num_read


def _read_proofs(proofs: Path | None) -> dict[str, int]:
    """Return what is remembered; a damaged file is as good as none."""
    try:
        known = json.loads(proofs.read_text()) if proofs else {}
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _too_short(server: Server, model: str, found: str) -> ModelError:
    return ModelError(
        f"{server.name} runs {model!r} with too short a context ({found}, llmos needs "
        f"{LEAST_CONTEXT}); raise it: {server.remedy}"
    )
