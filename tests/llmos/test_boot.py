"""What the composition root reads of a checkpoint before a model runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmos.boot import chat_template
from llmos_kernel.errors import ModelError


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


@pytest.mark.parametrize("damaged", ["{", "[]", '{"chat_template": [1]}'])
def test_a_damaged_tokenizer_configuration_is_refused(tmp_path: Path, damaged: str) -> None:
    (tmp_path / "tokenizer_config.json").write_text(damaged)
    with pytest.raises(ModelError, match="is damaged"):
        chat_template(tmp_path)
