"""What the composition root reads of a checkpoint before a model runs."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

import llmos_kernel
from llmos.boot import (
    BootOptions,
    booted,
    calibration_of,
    chat_template,
    larger_model_of,
    load_model,
)
from llmos.config import load_settings
from llmos_kernel.confidence import Calibration
from llmos_kernel.errors import ConfigError, ModelError

MODEL = Path(llmos_kernel.__file__).parent / "model"


def test_a_chat_template_is_found_in_its_own_file_or_in_the_tokenizers(tmp_path: Path) -> None:
    assert chat_template(tmp_path) == ""
    config = tmp_path / "tokenizer_config.json"
    config.write_text(json.dumps({"chat_template": 'in "config"'}))
    assert chat_template(tmp_path) == 'in "config"'
    named = [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]
    config.write_text(json.dumps({"chat_template": named}))
    assert chat_template(tmp_path) == "ab"
    (tmp_path / "chat_template.jinja").write_text("own")
    assert chat_template(tmp_path) == "own"


def test_an_endpoint_that_does_not_say_how_sure_it_is_cannot_be_asked_for() -> None:
    endpoint = {"path": "http://localhost:1/v1"}
    assert calibration_of(load_settings(model=endpoint)) is None
    with pytest.raises(ConfigError, match=r"confidence\.ask_below needs a model that runs here"):
        calibration_of(load_settings(model=endpoint, confidence={"ask_below": 0.5}))


def test_what_no_calibration_was_fitted_to_is_read_only_where_it_decides(tmp_path: Path) -> None:
    model = {"path": str(tmp_path)}
    assert calibration_of(load_settings(model=model)) is None
    found = calibration_of(load_settings(model=model, confidence={"ask_below": 0.5}))
    assert found == Calibration()
    found = calibration_of(load_settings(model=model, confidence={"call_above": 0.6}))
    assert found == Calibration(opening=0.6)


def test_words_instead_of_calls_are_as_fitted_unless_the_settings_say_otherwise(
    tmp_path: Path,
) -> None:
    model = {"path": str(tmp_path)}
    Calibration(0.9, 1.3, 0.8).save(tmp_path)

    def opening(**confidence: float) -> float:
        found = calibration_of(load_settings(model=model, confidence=confidence))
        assert found is not None
        return found.opening

    assert opening() == 0.8
    assert opening(call_above=0.5) == 0.5
    assert opening(call_above=0) == 0
    assert opening(ask_below=0.2) == 0
    assert opening(ask_below=0.2, call_above=0.5) == 0.5


@pytest.mark.parametrize(
    ("model", "confidence", "problem"),
    [
        ({"path": "http://localhost:1/v1"}, {"ask_below": 0.5}, "needs a model that runs here"),
        ({}, {}, "needs confidence.ask_below above 0"),
        ({"path": "larger"}, {"ask_below": 0.5}, "names 'larger', which is model.path too"),
    ],
)
def test_what_cannot_doubt_or_would_ask_itself_hands_nothing_over(
    model: dict[str, str], confidence: dict[str, float], problem: str, home: Path
) -> None:
    settings = load_settings(model=model, confidence=confidence | {"hand_over_to": "larger"})
    with pytest.raises(ConfigError, match=problem):
        larger_model_of(settings, home=home)


def test_two_names_of_one_folder_are_one_model(home: Path) -> None:
    same = {"ask_below": 0.5, "hand_over_to": str(MODEL.parent / "." / MODEL.name)}
    with pytest.raises(ConfigError, match=r"which is model\.path too"):
        larger_model_of(load_settings(confidence=same), home=home)


def test_a_model_that_is_only_named_is_not_looked_for(home: Path) -> None:
    confidence = {"ask_below": 0.5, "hand_over_to": "http://localhost:1/v1"}
    model = larger_model_of(load_settings(confidence=confidence), home=home)
    assert model is not None
    assert model.name == "http://localhost:1/v1"
    assert larger_model_of(load_settings(), home=home) is None


@pytest.mark.parametrize("damaged", ["{", "[]", '{"chat_template": [1]}'])
def test_a_damaged_tokenizer_configuration_is_refused(tmp_path: Path, damaged: str) -> None:
    (tmp_path / "tokenizer_config.json").write_text(damaged)
    with pytest.raises(ModelError, match="is damaged"):
        chat_template(tmp_path)


@pytest.fixture
def neox(tmp_path: Path) -> Path:
    """A small random model of a kind that our engine does not run, with the embedded tokens."""
    config = GPTNeoXConfig(
        vocab_size=4096, hidden_size=32, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=4096,
    )  # fmt: skip
    GPTNeoXForCausalLM(config).save_pretrained(tmp_path / "neox")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(MODEL / name, tmp_path / "neox")
    return tmp_path / "neox"


@pytest.mark.usefixtures("home")
async def test_an_architecture_that_ours_does_not_run_is_run_by_transformers(neox: Path) -> None:
    lines: list[str] = []
    settings = load_settings(model={"path": str(neox), "max_step_tokens": 8, "max_steps": 1})
    async with booted(settings, BootOptions(report=lines.append)) as kernel:
        process = kernel.start("Hi")
        kernel.tell(process, "Hi")
        step = await kernel.step(process)
        assert 0 < len(step.tokens) <= 8
    [line] = [line for line in lines if "GPTNeoXForCausalLM" in line]
    assert line.endswith("transformers runs it, one sequence at a time")


@pytest.mark.usefixtures("home")
def test_without_transformers_the_error_says_what_to_install(
    neox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "llmos.boot.find_spec", lambda name: None if name == "transformers" else find(name)
    )
    with pytest.raises(ModelError, match=r"GPTNeoX.*pip install 'llmos\[transformers\]'"):
        load_model(load_settings(model={"path": str(neox)}))
