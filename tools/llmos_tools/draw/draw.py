"""The tool `draw`: a model in another process turns words into a picture of the workspace.

Imports neither diffusers nor PIL.
"""

from __future__ import annotations

from llmos.model_host import HostedModel, ModelHost
from llmos.outputs import save_free
from llmos.sdk import CallContext, Effect, Output, RetryCall, tool
from llmos_tools.draw.settings import EMBEDDED_STEPS, DrawSettings

LONGEST_PROMPT = 2000
PICTURE = "picture.png"
# The embedded model draws 64 pixels; enlarged, so that a person can see them.
SHOWN_SIZE = 512
NUM_SEEDS = 2**31


class Draw:
    """Pictures from words."""

    def __init__(self, settings: DrawSettings, models: ModelHost) -> None:
        self._settings = settings
        self._models = models
        self._model = HostedModel(
            "the drawing model", "llmos_tools.draw.painter:Painter", settings.folder_or_name
        )

    @tool(
        effects={Effect.FILES},
        timeout_s=1800,
        keywords=(
            "paint", "sketch", "illustrate", "image", "pic", "photo", "visualise", "visualize",
            "depict", "render", "generate", "imagine", "art", "artwork", "cartoon", "doodle",
            "drawn", "portray", "canvas", "pencil", "brush", "poster", "postcard", "wallpaper",
            "logo", "icon", "design", "txt2img",
        ),
    )  # fmt: skip
    async def draw(self, prompt: str, context: CallContext) -> Output:
        """Draw a picture; by default small, of simple things.

        Args:
            prompt: what it shows
        """
        words = " ".join(prompt.split())
        if not words:
            raise RetryCall("prompt is empty: say what the picture shows")
        if len(words) > LONGEST_PROMPT:
            raise RetryCall(
                f"prompt has {len(words):,} characters; describe it in at most {LONGEST_PROMPT:,}"
            )
        settings = self._settings
        seed = int(context.asked_at * 1000) % NUM_SEEDS if settings.seed is None else settings.seed
        request = {
            "prompt": words,
            "seed": seed,
            "steps": settings.steps or (EMBEDDED_STEPS if settings.is_embedded else None),
            "size": settings.size,
            "guidance": settings.guidance,
            "shown_size": SHOWN_SIZE if settings.is_embedded else None,
        }
        reply = await self._models.ask(self._model, request, report=context.report)
        name = save_free(context.workspace, PICTURE, reply.files[PICTURE])
        drawn = f"{reply.value['width']} x {reply.value['height']} pixels"
        enlarged = f", enlarged to {SHOWN_SIZE}" if settings.is_embedded else ""
        return Output(f"picture saved as {name} ({drawn}{enlarged}, seed {seed})", (name,))
