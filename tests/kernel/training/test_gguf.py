"""GGUF files: llama.cpp tokenizes and continues as transformers does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks import llama_cpp
from benchmarks.llama_calls import compare
from benchmarks.models import EMBEDDED_FOLDER
from llmos_kernel.training.gguf import write_gguf

REQUESTS = [
    "what is 17 * 24",
    "read notes.txt, then write 3/4 of it to  C:\\tmp\\Übung.md",
]


def test_llama_cpp_makes_the_calls_and_the_tokens_that_transformers_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("llama_cpp")
    monkeypatch.setattr(llama_cpp, "GGUF_FOLDER", tmp_path)
    assert compare(REQUESTS) == {"requests": 2, "same_calls": 2, "same_tokens": 2}


def test_a_tokenizer_that_llama_cpp_would_split_otherwise_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(EMBEDDED_FOLDER / name, folder)
    state = json.loads((EMBEDDED_FOLDER / "tokenizer.json").read_text())
    state["pre_tokenizer"] = {"type": "Whitespace"}
    (folder / "tokenizer.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match="convert_hf_to_gguf"):
        write_gguf(folder, "float32", tmp_path / "out.gguf")


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ValueError, match="not 'llama'"):
        write_gguf(tmp_path, "float32", tmp_path / "out.gguf")
