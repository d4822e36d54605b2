"""Settings: `config.toml`, then the environment (`LLMOS_<SECTION>__<NAME>`), then flags.

Unknown keys fail at start. A plugin adds a section by the entry-point group `llmos.settings`: the
entry's name is the section's, its object a pydantic model with defaults. Knows no kernel and no
tool.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import urlsplit

from platformdirs import user_config_path, user_data_path
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    create_model,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from llmos.model_host.settings import HostSettings
from llmos_kernel.errors import ConfigError
from llmos_kernel.tool_choice import USUAL_TOOLS

EMBEDDED_MODEL = "embedded"
SECTIONS = "llmos.settings"


def _without_secret(path: str) -> str:
    """Refuse addresses that can hold a key: the journal keeps the path."""
    parts = urlsplit(path) if "://" in path else None
    if parts and ("@" in parts.netloc or parts.query or parts.fragment):
        raise ValueError("an endpoint's address ends with its path; give a key as api_key")
    return path


ModelPath = Annotated[str, AfterValidator(_without_secret)]


class ModelSettings(BaseModel):
    """Which model is the kernel, and how far one reply may go."""

    model_config = ConfigDict(extra="forbid")

    path: ModelPath = Field(
        EMBEDDED_MODEL,
        description="'embedded', a checkpoint folder, a hub name, or an endpoint's address",
    )
    name: str | None = Field(None, description="the model's name at an endpoint that has several")
    api_key: SecretStr | None = Field(None, description="what an endpoint wants to know its users")
    dialect: str | None = Field(None, description="how it writes calls; detected where not given")
    max_step_tokens: int = Field(512, gt=0, description="the longest reply, in tokens")
    max_steps: int = Field(12, gt=0, description="the most replies for one request")

    @property
    def is_endpoint(self) -> bool:
        """Whether `path` is the address of a server that speaks the OpenAI protocol."""
        return self.path.startswith(("http://", "https://"))


class ToolSettings(BaseModel):
    """Which tools the model may call."""

    model_config = ConfigDict(extra="forbid")

    disabled: list[str] = Field([], description="names of tools that are left out")
    always: list[str] = Field(
        list(USUAL_TOOLS),
        description="names of tools that every task is offered",
    )
    most: int | None = Field(
        None, gt=0, description="the most tools that a task is offered; by the model if not given"
    )
    trusted: list[str] = Field(
        [], description="SHA-256 of the plugins in tools.d that run without the sandbox"
    )


class ConfidenceSettings(BaseModel):
    """What to do with calls of which the model is not sure."""

    model_config = ConfigDict(extra="forbid")

    ask_below: float = Field(
        0.0,
        ge=0,
        le=1,
        description="a call of which the model is less sure needs a yes; 0 asks never",
    )
    call_above: float | None = Field(
        None,
        ge=0,
        le=1,
        description="a message that wants a call with less probability is answered in words; "
        "default: what was fitted to the checkpoint, or 0, never, where ask_below is set",
    )
    hand_over_to: ModelPath | None = Field(
        None,
        description="a larger model, as in model.path, that makes a step with such a call instead",
    )
    hand_over_name: str | None = Field(
        None, description="that model's name at an endpoint that has several"
    )
    hand_over_api_key: SecretStr | None = Field(
        None, description="what that endpoint wants to know its users"
    )


class McpSettings(BaseModel):
    """Where the servers of the Model Context Protocol are listed, and who may call ours."""

    model_config = ConfigDict(extra="forbid")

    file: str | None = Field(None, description="an mcpServers file; mcp.json beside config.toml")
    serve_token: SecretStr | None = Field(
        None,
        min_length=16,
        description="what clients of `llmos mcp serve --http` must send; by default made at start",
    )

    @field_validator("serve_token")
    @classmethod
    def _fits_a_header(cls, token: SecretStr | None) -> SecretStr | None:
        """Refuse what no client could send: RFC 6750, section 2.1, says which signs a token has."""
        if token and not re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", token.get_secret_value()):
            raise ValueError("a token has letters, digits and ._~+/- only, and = at its end")
        return token

    @property
    def path(self) -> Path:
        """The file; where none is named it need not exist."""
        if self.file is None:
            return config_path().with_name("mcp.json")
        return Path(self.file).expanduser()


def config_path() -> Path:
    """Return where `config.toml` is read from; it need not exist."""
    return user_config_path("llmos") / "config.toml"


def tools_folder() -> Path:
    """Return the user's folder of plugins, `tools.d`; it need not exist."""
    return config_path().parent / "tools.d"


def home_path() -> Path:
    """Return the folder of all state: the journal with its blobs, and the workspace."""
    return Path(os.environ.get("LLMOS_HOME") or user_data_path("llmos")).absolute()


class Settings(BaseSettings):
    """All settings of llmos."""

    model_config = SettingsConfigDict(
        env_prefix="LLMOS_", env_nested_delimiter="__", extra="forbid"
    )

    model: ModelSettings = ModelSettings()  # pyright: ignore[reportCallIssue]
    tools: ToolSettings = ToolSettings()  # pyright: ignore[reportCallIssue]
    confidence: ConfidenceSettings = ConfidenceSettings()  # pyright: ignore[reportCallIssue]
    mcp: McpSettings = McpSettings()  # pyright: ignore[reportCallIssue]
    models: HostSettings = HostSettings()  # pyright: ignore[reportCallIssue]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put flags before the environment before the file."""
        file = TomlConfigSettingsSource(settings_cls, config_path())
        return init_settings, env_settings, file

    def provided(self) -> list[object]:
        """Return the sections that plugins added, which they may ask for."""
        names = type(self).model_fields.keys() - Settings.model_fields.keys()
        return [getattr(self, name) for name in sorted(names)]


def load_settings(**flags: dict[str, Any]) -> Settings:
    """Read the settings; `flags` are sections of values given on the command line.

    Raises:
        ConfigError: the file is not TOML, a key is unknown, or a value does not fit.
    """
    try:
        return _with_sections_of_plugins()(**flags)  # pyright: ignore[reportArgumentType]
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{config_path()} is not valid TOML: {error}") from error
    except SettingsError as error:
        raise ConfigError(
            f"a setting in the environment is wrong: {error}; lists are JSON, such as '[\"a\"]'"
        ) from error
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(str(part) for part in problem["loc"])
        raise ConfigError(
            f"the setting {name!r} is wrong: {problem['msg']}; `llmos config` lists all settings"
        ) from error


def _with_sections_of_plugins() -> type[Settings]:
    sections: dict[str, Any] = {}
    for entry in entry_points(group=SECTIONS):
        if entry.name in sections or entry.name in Settings.model_fields:
            raise ConfigError(f"two plugins have settings called {entry.name!r}; uninstall one")
        try:
            model = entry.load()
            sections[entry.name] = (model, model())
        except Exception:  # a plugin may fail in any way; its tools' entries tell why
            continue
    return create_model("Settings", __base__=Settings, **sections)


def explained_settings(settings: Settings) -> Iterator[tuple[str, Any, str]]:
    """Yield (name, value, where it came from) for every setting."""
    in_file: dict[str, Any] = {}
    if config_path().is_file():
        in_file = tomllib.loads(config_path().read_text())
    for section, values in settings.model_dump().items():
        for name, value in cast(dict[str, Any], values).items():
            variable = f"LLMOS_{section}__{name}".upper()
            if variable in {key.upper() for key in os.environ}:
                source = f"environment {variable}"
            elif name in in_file.get(section, {}):
                source = str(config_path())
            else:
                source = "default"
            yield f"{section}.{name}", "***" if isinstance(value, SecretStr) else value, source
