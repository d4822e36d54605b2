"""Compares greedy calls of llama.cpp with those of transformers, in float32, token for token.

    python -m benchmarks.llama_calls tests/evaluation/core.jsonl

Needs llama-cpp-python and gguf. Also compares how llama.cpp tokenizes each request by itself.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import Qwen3ForCausalLM

from benchmarks.llama_cpp import LlamaCpp, gguf_of
from benchmarks.models import embedded_model
from llmos_kernel.dialects.dialect import SYSTEM_PROMPT
from llmos_kernel.dialects.renderer import Renderer, detect_dialect
from llmos_kernel.training.dialogues import load_builtin_tools

NUM_NEW = 48
NUM_TOKENS = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path, help="an evaluation file")
    rows = map(json.loads, parser.parse_args().file.read_text().splitlines())
    requests = [row["user"] for row in rows if "user" in row]
    print(json.dumps(compare(requests)))


def compare(requests: Sequence[str]) -> dict[str, int]:
    """Return how many requests there are, and in how many calls and tokens are the same."""
    model = embedded_model()
    tokenizer = Tokenizer.from_file(str(model.folder / "tokenizer.json"))
    renderer = Renderer(tokenizer, detect_dialect(tokenizer))
    llama = LlamaCpp(
        gguf_of(model, "float32"), num_sequences=1, num_tokens=NUM_TOKENS, is_exact=True
    )
    torch.set_num_threads(1)
    reference = Qwen3ForCausalLM.from_pretrained(model.folder, dtype=torch.float32).eval()
    table = renderer.system_ids(SYSTEM_PROMPT, load_builtin_tools())
    same_calls = same_tokens = 0
    for request in requests:
        own = renderer.user_ids(request)
        prompt = [*table, *own, *renderer.assistant_open_ids()]
        expected = _generated(reference, prompt, renderer.stop_id)
        same_calls += _llama_generated(llama, prompt, renderer.stop_id) == expected
        same_tokens += llama.tokens_of(request) == renderer.content_ids(request)
    llama.close()
    return {"requests": len(requests), "same_calls": same_calls, "same_tokens": same_tokens}


def _generated(model: Qwen3ForCausalLM, prompt: list[int], stop_id: int) -> list[int]:
    output = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=NUM_NEW,
        do_sample=False,
        eos_token_id=stop_id,
        pad_token_id=stop_id,
    )  # pyright: ignore
    return output[0, len(prompt) :].tolist()


def _llama_generated(llama: LlamaCpp, prompt: list[int], stop_id: int) -> list[int]:
    llama.truncate(0, 0)
    output: list[int] = []
    for token in _continued(llama, prompt):
        output.append(token)
        if token == stop_id or len(output) == NUM_NEW:
            break
    return output


def _continued(llama: LlamaCpp, prompt: list[int]) -> Iterator[int]:
    tokens = prompt
    while True:
        token = llama.prefill(0, tokens)
        yield token
        tokens = [token]


if __name__ == "__main__":
    main()
