"""llmos over a real server: `transformers serve` with the embedded checkpoint."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import llmos_kernel
from llmos import LLMOS
from llmos.boot import load_model, proofs_path
from llmos.config import Settings, explained_settings, load_settings
from llmos_kernel.errors import ConfigError, ModelError

MODEL = Path(llmos_kernel.__file__).parent / "model"
NEEDED = ("fastapi", "uvicorn", "openai")
# How the embedded model writes calls, in the form in which transformers wants to be told.
RESPONSE_TEMPLATE = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|assistant|>",
    "fields": {
        "tool_calls": {
            "open": "<tool_call>",
            "close": "</tool_call>",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"close": "<|end|>", "content": "text"},
    },
}


@dataclass(frozen=True)
class Served:
    url: str
    name: str

    def settings(self, **more: Any) -> Settings:
        return load_settings(model={"path": self.url, "name": self.name, **more})


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        pytest.skip(f"{', '.join(missing)} missing: pip install 'transformers[serving]'")
    folder = tmp_path_factory.mktemp("served") / "model"
    shutil.copytree(MODEL, folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["response_template"] = RESPONSE_TEMPLATE
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    where = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder), *where],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HOME": str(folder.parent / "hub"), "HF_HUB_OFFLINE": "1"},
    )
    assert process.stderr is not None
    said: list[str] = []
    for line in process.stderr:
        said.append(line)
        if "Uvicorn running" in line:
            break
    else:
        pytest.fail(f"the server ended: {''.join(said)[-2000:]}")
    threading.Thread(target=process.stderr.read, daemon=True).start()
    yield Served(f"http://127.0.0.1:{port}/v1", str(folder))
    process.kill()
    process.wait()


async def test_a_real_server_does_what_the_checkpoint_does_itself(
    served: Served, home: Path
) -> None:
    async with LLMOS() as system:
        expected = await system.run("Hello")
    async with LLMOS(settings=served.settings()) as system:
        assert await system.run("Hello") == expected
        process = await system.spawn("What is 17 * 24?")
        assert "408" in await process.wait()
        events = [event async for event in process.events()]
    [call] = [event.body for event in events if event.kind == "tool_call"]
    assert (call["name"], call["arguments"]) == ("calculate", {"expression": "17*24"})
    assert served.url in proofs_path(home).read_text()


def test_a_dialect_is_not_for_an_endpoint(home: Path) -> None:
    with pytest.raises(ModelError, match=r"leave model\.dialect out"):
        load_model(load_settings(model={"path": "http://127.0.0.1:9/v1", "dialect": "hermes"}))


@pytest.mark.usefixtures("home")
def test_the_key_is_no_part_of_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMOS_MODEL__API_KEY", "top-secret")
    settings = load_settings()
    assert settings.model.api_key is not None
    assert settings.model.api_key.get_secret_value() == "top-secret"
    rows = {name: (value, source) for name, value, source in explained_settings(settings)}
    assert rows["model.api_key"] == ("***", "environment LLMOS_MODEL__API_KEY")
    assert "top-secret" not in repr(settings)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("url", ["http://me:secret@host/v1", "https://host/v1?key=secret"])
def test_an_address_with_a_key_in_it_is_refused_since_it_is_journalled(url: str) -> None:
    with pytest.raises(ConfigError, match="give a key as api_key") as caught:
        load_settings(model={"path": url})
    assert "secret" not in str(caught.value)
