"""The composition root: settings in, a running kernel out, with a socket for other terminals.

The only module that imports an engine, and only once one is needed: torch loads nowhere else.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmos.config import EMBEDDED_MODEL, ModelSettings, Settings, home_path
from llmos.control.protocol import control_folder
from llmos.control.server import ControlServer, Followers
from llmos.model_host import ModelHost
from llmos.plugins import plugin_tools
from llmos_kernel.confidence import Calibration
from llmos_kernel.dialects.renderer import Renderer, detect_dialect
from llmos_kernel.engine.base import Engine
from llmos_kernel.errors import ConfigError, LlmosError, ModelError, StateError, UnknownArchitecture
from llmos_kernel.journal import Journal, JournalEvent, explained
from llmos_kernel.kernel import Kernel, Limits, ignore
from llmos_kernel.larger import LazyModel
from llmos_kernel.policy import Approver, deny_all
from llmos_kernel.progress import OnProgress
from llmos_kernel.syscalls import OwnedDriver, SyscallTable
from llmos_kernel.tool_choice import ToolChoice

MOST_FOR_EMBEDDED = 14
MOST_FOR_OTHERS = 64
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
HUB_FILES = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "*.safetensors",
]


@dataclass(frozen=True, slots=True)
class BootOptions:
    """What a caller adds to the settings. `report` gets lines for people."""

    tools: Sequence[OwnedDriver] = ()
    is_dry_run: bool = False
    approve: Approver = deny_all
    on_event: Callable[[JournalEvent], None] = ignore
    on_text: Callable[[int, str], None] = ignore
    on_progress: OnProgress = ignore
    report: Callable[[str], None] = ignore
    home: Path = field(default_factory=home_path)


def journal_path(home: Path) -> Path:
    return home / "journal.db"


def proofs_path(home: Path) -> Path:
    """Return the file that remembers how long a prompt each endpoint has read whole."""
    return home / "endpoints.json"


def workspace_path(home: Path) -> Path:
    return home / "workspace"


@asynccontextmanager
async def booted(settings: Settings, options: BootOptions) -> AsyncGenerator[Kernel]:
    """Run a kernel for the length of the block.

    Raises:
        ConfigError: settings or plugins are wrong.
        ModelError: the model cannot be loaded.
        StateError: the state folder cannot be used.
    """
    larger = larger_model_of(settings, home=options.home, report=options.report)
    workspace = workspace_path(options.home)
    with explained(journal_path(options.home)):
        workspace.mkdir(parents=True, exist_ok=True)
    journal = Journal(journal_path(options.home))
    followers = Followers()

    def tell(event: JournalEvent) -> None:
        options.on_event(event)
        followers.publish(event)

    models = ModelHost(settings.models)
    found = await installed_tools(settings, models, home=options.home, report=options.report)
    table = SyscallTable([*found, *options.tools])
    renderer, engine = load_model(settings, home=options.home, report=options.report)
    kernel = Kernel(
        engine,
        renderer,
        table,
        journal,
        workspace=workspace,
        model=settings.model.path,
        approve=options.approve,
        limits=limits_of(settings),
        is_dry_run=options.is_dry_run,
        tool_choice=tool_choice_of(settings, options.tools),
        calibration=calibration_of(settings),
        ask_below=settings.confidence.ask_below,
        larger=larger,
        on_event=tell,
        on_text=options.on_text,
        on_progress=options.on_progress,
    )
    server = ControlServer(kernel, followers, control_folder(options.home))
    try:
        await server.start()
        yield kernel
    finally:
        server.stop()
        await kernel.close()
        await models.close()
        await server.close()


async def installed_tools(
    settings: Settings, models: ModelHost, *, home: Path, report: Callable[[str], None]
) -> list[OwnedDriver]:
    """Return the tools of plugins and of MCP servers, but for the disabled ones.

    `models` is lent to tools that ask for it; who made it closes it. `report` gets one line for
    each plugin, server and tool that is left out.

    Raises:
        ConfigError: a disabled tool does not exist, or the file of servers is wrong.
    """
    from llmos.mcp.client import mcp_tools

    more = await mcp_tools(settings.mcp, home, report)
    return await asyncio.to_thread(plugin_tools, settings, models, report, more)


def record_failed_start(home: Path, task: str, settings: Settings, error: LlmosError) -> None:
    """Journal a task that could not start, so that `llmos ps` and `strace` show why.

    Does nothing where the journal itself is what failed.
    """
    try:
        journal = Journal(journal_path(home))
        pid = journal.add_process(task, settings.model.path)
        journal.append(pid, "user", {"text": task})
        journal.append(pid, "error", {"text": str(error)})
        journal.append(pid, "state", {"state": "ZOMBIE", "exit": "failed"})
        journal.close()
    except StateError:
        return


def tool_choice_of(settings: Settings, asked_for: Sequence[OwnedDriver] = ()) -> ToolChoice:
    """Return how many tools a task is offered, and which are among them in any case."""
    is_embedded = settings.model.path == EMBEDDED_MODEL
    most = settings.tools.most or (MOST_FOR_EMBEDDED if is_embedded else MOST_FOR_OTHERS)
    names = {owned.driver.spec.name for owned in asked_for}
    return ToolChoice(frozenset({*settings.tools.always, *names}), most)


def calibration_of(settings: Settings) -> Calibration | None:
    """Return how to read the model's own probabilities; None where nobody needs to.

    Those of a checkpoint that nothing was fitted to are taken as they are.

    Raises:
        ConfigError: calls of an endpoint are to be asked for, which does not say how sure it is.
        ModelError: what was fitted is damaged.
    """
    confidence = settings.confidence
    for name, value in (("ask_below", confidence.ask_below), ("call_above", confidence.call_above)):
        if value and settings.model.is_endpoint:
            raise ConfigError(
                f"confidence.{name} needs a model that runs here: an endpoint does not say how "
                "sure it is of a call; set it to 0"
            )
    if settings.model.is_endpoint:
        return None
    found = Calibration.beside(model_folder(settings.model.path))
    opening = confidence.call_above
    if opening is None:
        # Whoever is asked, or has a larger model, need not be refused.
        opening = 0.0 if confidence.ask_below or found is None else found.opening
    if found is None and not (confidence.ask_below or opening):
        return None
    return replace(found or Calibration(), opening=opening)


def larger_model_of(
    settings: Settings, *, home: Path, report: Callable[[str], None] = ignore
) -> LazyModel | None:
    """Return the model to which doubtful steps are handed over, not loaded yet, if there is one.

    Raises:
        ConfigError: nothing is doubted, or it is the model that doubts.
    """
    confidence = settings.confidence
    if confidence.hand_over_to is None:
        return None
    if settings.model.is_endpoint:
        raise ConfigError(
            "confidence.hand_over_to needs a model that runs here as model.path: an endpoint does "
            "not say how sure it is of a call; leave it out"
        )
    if confidence.ask_below == 0:
        raise ConfigError(
            "confidence.hand_over_to needs confidence.ask_below above 0: no call is doubted "
            "without; set it, to 0.5 say"
        )
    if _is_same_model(settings.model.path, confidence.hand_over_to):
        raise ConfigError(
            f"confidence.hand_over_to names {confidence.hand_over_to!r}, which is model.path too; "
            "name a larger model"
        )
    model = ModelSettings(
        path=confidence.hand_over_to,
        name=confidence.hand_over_name,
        api_key=confidence.hand_over_api_key,
        max_step_tokens=settings.model.max_step_tokens,
    )  # pyright: ignore[reportCallIssue]
    larger = settings.model_copy(update={"model": model})
    return LazyModel(
        model.path,
        lambda: load_model(larger, home=home, report=report),
        max_step_tokens=model.max_step_tokens,
        ids_per_token=_ids_per_token(model),
    )


def _is_same_model(one: str, other: str) -> bool:
    """Whether two names are of one checkpoint; fetches nothing."""
    if one == other:
        return True
    folders = [_own_folder(name) for name in (one, other)]
    return all(folder.is_dir() for folder in folders) and folders[0].samefile(folders[1])


def _ids_per_token(model: ModelSettings) -> int:
    """Return how many ids of a model's engine are counted as one token of a reply."""
    if not model.is_endpoint:
        return 1
    from llmos_kernel.engine.remote.engine import REPLY_BYTES_PER_TOKEN

    return REPLY_BYTES_PER_TOKEN


def limits_of(settings: Settings) -> Limits:
    """Return the bounds of one turn; what an endpoint says is counted in bytes."""
    model = settings.model
    return Limits(model.max_steps, model.max_step_tokens * _ids_per_token(model))


def load_model(
    settings: Settings, *, home: Path | None = None, report: Callable[[str], None] = ignore
) -> tuple[Renderer, Engine]:
    """Load the configured model: a checkpoint, or an endpoint where the path is an address.

    Raises:
        ModelError: there is no such model, or it is damaged, of an unknown kind or out of reach.
    """
    if settings.model.is_endpoint:
        return _reached(settings, home or home_path())
    return _loaded(settings, report)


def describe_model(settings: Settings, renderer: Renderer, engine: Engine) -> dict[str, Any]:
    """Return what the loaded model turned out to be, for people."""
    from llmos_kernel.engine.remote.engine import RemoteEngine

    figures: dict[str, Any] = {"model": settings.model.path}
    if isinstance(engine, RemoteEngine):
        probed = engine.probed
        figures |= {
            "server": probed.server,
            "name": probed.model,
            "context_told": probed.context,
            "prompt_proved": probed.num_proved,
        }
    else:
        figures["folder"] = str(model_folder(settings.model.path))
    return figures | {"dialect": renderer.dialect.name, "context_length": engine.context_length}


def _reached(settings: Settings, home: Path) -> tuple[Renderer, Engine]:
    from llmos_kernel.dialects.chat import CHAT, chat_renderer
    from llmos_kernel.engine.remote.engine import RemoteEngine

    model = settings.model
    if model.dialect not in (None, CHAT.name):
        raise ModelError("an endpoint writes calls itself; leave model.dialect out")
    engine = RemoteEngine.connect(
        model.path,
        name=model.name,
        api_key=model.api_key.get_secret_value() if model.api_key else None,
        proofs=proofs_path(home),
    )
    return chat_renderer(), engine


def _loaded(settings: Settings, report: Callable[[str], None]) -> tuple[Renderer, Engine]:
    folder = model_folder(settings.model.path)
    if (folder / "config.json").is_file() and not (folder / "tokenizer.json").is_file():
        raise ModelError(f"{str(folder)!r} has no tokenizer.json; fetch the checkpoint again")
    engine = _engine(folder, report)
    return load_renderer(settings), engine


def load_renderer(settings: Settings) -> Renderer:
    """Load the configured model's tokenizer and dialect; its weights stay where they are.

    Raises:
        ModelError: there is none, or it is damaged.
    """
    if settings.model.is_endpoint:
        from llmos_kernel.dialects.chat import chat_renderer

        return chat_renderer()
    from tokenizers import Tokenizer

    path = model_folder(settings.model.path) / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises a bare Exception for a damaged file
        raise ModelError(f"{path} is damaged ({error}); fetch it again") from error
    template = chat_template(path.parent)
    return Renderer(
        tokenizer, detect_dialect(tokenizer, name=settings.model.dialect, template=template)
    )


def _engine(folder: Path, report: Callable[[str], None]) -> Engine:
    """Load weights with our own engine, with transformers' classes where it does not run them."""
    from llmos_kernel.engine.torch.engine import TorchEngine

    try:
        return TorchEngine.load(folder)
    except UnknownArchitecture as error:
        if find_spec("transformers") is None:
            raise ModelError(
                f"{error}; transformers may run it: pip install 'llmos[transformers]'"
            ) from error
        report(f"{error}; transformers runs it, one sequence at a time")
    from llmos_kernel.engine.transformers import TransformersEngine

    return TransformersEngine.load(folder)


def chat_template(folder: Path) -> str:
    """Return a checkpoint's chat template, empty where it has none. It is read, never run.

    Raises:
        ModelError: the file that should hold it is damaged.
    """
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text()
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return ""
    try:
        found = json.loads(path.read_text()).get("chat_template") or ""
        return found if isinstance(found, str) else "".join(part["template"] for part in found)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is damaged ({error!r}); fetch it again") from error


def model_folder(name: str) -> Path:
    """Return the folder of a checkpoint, fetching it where `name` is one of a hub (`owner/name`).

    Raises:
        ModelError: there is no such folder, and no such name or no network.
    """
    path = _own_folder(name)
    if path.is_dir():
        return path
    if path.exists():
        raise ModelError(f"{name!r} is a file; give the folder of a checkpoint")
    if not HUB_NAME.fullmatch(name):
        raise ModelError(f"there is no folder {name!r}; give the folder of a checkpoint")
    return _fetched(name)


def _own_folder(name: str) -> Path:
    """Return the folder that a name is of, which need not exist."""
    if name != EMBEDDED_MODEL:
        return Path(name).expanduser()
    import llmos_kernel

    return Path(llmos_kernel.__file__).parent / "model"


def _fetched(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES))
    except Exception as error:  # network, name, permission: the library has an error for each
        raise ModelError(
            f"there is no folder {name!r}, and it could not be fetched from the hub "
            f"({type(error).__name__}); check the name and the network"
        ) from error
