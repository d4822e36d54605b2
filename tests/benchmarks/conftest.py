"""A model so small that every peer runs it at once."""

from __future__ import annotations

import pytest
from transformers import Qwen3Config

from benchmarks.models import BenchmarkModel, make_random_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> BenchmarkModel:
    config = Qwen3Config(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_random_model(folder, config)
    return BenchmarkModel("tiny", folder, "", config)
