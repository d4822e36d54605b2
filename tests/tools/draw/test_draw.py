"""`draw` over a process of its own, with tiny random pipelines of the shapes that users name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image
from pydantic import ValidationError

from llmos.model_host import HostSettings, ModelHost
from llmos.sdk import CallContext, RetryCall, ToolFailed, tools_of
from llmos_tools.draw import Draw
from llmos_tools.draw.settings import DrawSettings
from tests.tools.draw import checkpoints

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def models() -> AsyncIterator[ModelHost]:
    host = ModelHost()
    yield host
    await host.close()


def draw_of(models: ModelHost, **settings: object) -> Draw:
    return Draw(DrawSettings.model_validate(settings), models)


async def test_the_kernel_reads_the_words_that_the_model_was_trained_on(models: ModelHost) -> None:
    (driver,) = tools_of(Draw, [DrawSettings.model_validate({}), models])
    assert driver.spec.description == "Draw a picture; by default small, of simple things."
    assert driver.spec.parameters["properties"] == {
        "prompt": {"type": "string", "description": "what it shows"}
    }


@pytest.mark.parametrize("make", [checkpoints.stable_diffusion, checkpoints.sdxl])
async def test_a_users_pipeline_draws_as_it_is(
    models: ModelHost, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "pipeline")
    tool = draw_of(models, checkpoint=str(tmp_path / "pipeline"), steps=2, size=64, seed=5)
    reported: list[str] = []
    context = CallContext(1, tmp_path, report=reported.append)
    first = await tool.draw("a red house", context)
    assert first.files == ("picture.png",)
    assert first.text == "picture saved as picture.png (64 x 64 pixels, seed 5)"
    assert "step 2 of 2" in reported
    again = await tool.draw("a red house", context)
    assert again.files == ("picture-2.png",)
    with (
        Image.open(tmp_path / "picture.png") as picture,
        Image.open(tmp_path / "picture-2.png") as copy,
    ):
        assert picture.size == (64, 64)
        assert picture.tobytes() == copy.tobytes()


@pytest.mark.parametrize(("prompt", "told"), [("  ", "is empty"), ("red " * 2500, "9,999")])
async def test_words_that_cannot_be_drawn_are_refused(
    models: ModelHost, tmp_path: Path, prompt: str, told: str
) -> None:
    with pytest.raises(RetryCall, match=told):
        await draw_of(models).draw(prompt, CallContext(1, tmp_path))
    assert not list(tmp_path.iterdir())


async def test_a_missing_pipeline_is_named(models: ModelHost, tmp_path: Path) -> None:
    folder = str(tmp_path / "nothing")
    with pytest.raises(ToolFailed, match="nothing"):
        await draw_of(models, checkpoint=folder).draw("a sun", CallContext(1, tmp_path))


async def test_too_little_memory_is_refused_with_the_setting(tmp_path: Path) -> None:
    checkpoints.stable_diffusion(tmp_path / "pipeline")
    host = ModelHost(HostSettings(memory_mb=1))
    with pytest.raises(ToolFailed, match=r"models\.memory_mb"):
        await draw_of(host, checkpoint=str(tmp_path / "pipeline")).draw(
            "a sun", CallContext(1, tmp_path)
        )
    await host.close()


async def test_a_size_that_no_pipeline_draws_is_refused() -> None:
    with pytest.raises(ValidationError, match="multiple of 8"):
        DrawSettings.model_validate({"size": 100})
