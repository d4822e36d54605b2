"""Settings: file, then environment, then flags; what is unknown fails."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import BaseModel, ConfigDict

from llmos import config
from llmos.config import config_path, explained_settings, home_path, load_settings
from llmos_kernel.errors import ConfigError

pytestmark = pytest.mark.usefixtures("home")


def write_config(text: str) -> None:
    config_path().parent.mkdir(parents=True)
    config_path().write_text(text)


def test_without_anything_the_embedded_model_is_used() -> None:
    assert load_settings().model.path == "embedded"


def test_environment_beats_file_and_flags_beat_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_config('[model]\npath = "file"\nmax_steps = 3\n')
    assert load_settings().model.path == "file"
    monkeypatch.setenv("LLMOS_MODEL__PATH", "environment")
    assert load_settings().model.path == "environment"
    settings = load_settings(model={"path": "flag"})
    assert (settings.model.path, settings.model.max_steps) == ("flag", 3)


def test_lists_come_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMOS_TOOLS__DISABLED", '["python"]')
    assert load_settings().tools.disabled == ["python"]


def test_every_setting_says_where_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    write_config("[model]\nmax_steps = 3\n")
    monkeypatch.setenv("LLMOS_MODEL__PATH", "/models/x")
    sources = {name: source for name, _, source in explained_settings(load_settings())}
    assert sources["model.path"] == "environment LLMOS_MODEL__PATH"
    assert sources["model.max_steps"] == str(config_path())
    assert sources["tools.disabled"] == "default"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[model]\npth = 'x'\n", "model.pth"),
        ("[modell]\npath = 'x'\n", "modell"),
        ("[model]\nmax_steps = 'many'\n", "model.max_steps"),
        ("[model]\nmax_steps = 0\n", "model.max_steps"),
        ("[model\n", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_the_setting(text: str, message: str) -> None:
    write_config(text)
    with pytest.raises(ConfigError, match=message):
        load_settings()


def test_the_state_folder_follows_its_variable(home: Path) -> None:
    assert home_path() == home


class Cabin(BaseModel):
    model_config = ConfigDict(extra="forbid")
    guests: list[str] = []


@pytest.fixture
def cabin_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a plugin with settings, and one whose settings cannot be loaded."""
    module = ModuleType("settings_of_the_test")
    module.Cabin = Cabin  # pyright: ignore
    monkeypatch.setitem(sys.modules, module.__name__, module)
    entries = [
        EntryPoint("cabin", "settings_of_the_test:Cabin", config.SECTIONS),
        EntryPoint("absent", "no_such_module:Settings", config.SECTIONS),
    ]
    monkeypatch.setattr(config, "entry_points", lambda group: entries)


@pytest.mark.usefixtures("cabin_plugin")
def test_a_plugins_section_is_read_explained_and_provided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LLMOS_CABIN__GUESTS", '["ann"]')
    settings = load_settings()
    assert Cabin(guests=["ann"]) in settings.provided()
    explained = {name: (value, source) for name, value, source in explained_settings(settings)}
    assert explained["cabin.guests"] == (["ann"], "environment LLMOS_CABIN__GUESTS")


@pytest.mark.usefixtures("cabin_plugin")
def test_an_unknown_key_in_a_plugins_section_fails() -> None:
    write_config("[cabin]\nguest = []\n")
    with pytest.raises(ConfigError, match=r"cabin\.guest"):
        load_settings()


def test_two_plugins_with_one_section_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [EntryPoint("model", "no_such_module:Settings", config.SECTIONS)]
    monkeypatch.setattr(config, "entry_points", lambda group: entries)
    with pytest.raises(ConfigError, match="'model'"):
        load_settings()


def test_a_list_in_the_environment_that_is_no_json_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LLMOS_TOOLS__DISABLED", "python")
    with pytest.raises(ConfigError, match="lists are JSON"):
        load_settings()
