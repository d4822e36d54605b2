"""Runs in the process of the drawing model: loads a pipeline of diffusers and draws with it.

Knows no tool and no workspace.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from PIL import Image

from llmos.sdk import ToolFailed
from llmos_kernel.abi import JsonObject

Report = Callable[[str], None]
PICTURE = "picture.png"


class Painter:
    """A stock pipeline from text to image, whichever the checkpoint names."""

    def __init__(self, checkpoint: str, report: Report) -> None:
        """Load a folder or a hub name: in half precision on a GPU, in single on the CPU.

        Raises:
            ToolFailed: it is no pipeline that draws from text.
        """
        report("loading the drawing model")
        on_gpu = torch.cuda.is_available()
        dtype = torch.float16 if on_gpu else torch.float32
        self._pipeline: Any = DiffusionPipeline.from_pretrained(checkpoint, torch_dtype=dtype)
        if "prompt" not in inspect.signature(self._pipeline.__call__).parameters:
            raise ToolFailed(f"{checkpoint!r} does not draw from words; set draw.checkpoint")
        self._pipeline.set_progress_bar_config(disable=True)
        self._pipeline.to("cuda" if on_gpu else "cpu")

    def answer(self, request: JsonObject, folder: Path, report: Report) -> JsonObject:
        """Draw `prompt` from `seed`, with `steps`, `size` and `guidance` where they are given.

        `shown_size` is the width in pixels to which the picture is enlarged, if it is smaller.
        Returns width and height as drawn.
        """
        steps = request.get("steps")
        options = {
            "num_inference_steps": steps,
            "guidance_scale": request.get("guidance"),
            "width": request.get("size"),
            "height": request.get("size"),
        }
        given = {name: value for name, value in options.items() if value is not None}

        def at_step_end(_: Any, index: int, __: Any, kept: dict[str, Any]) -> dict[str, Any]:
            report(f"step {index + 1}" + (f" of {steps}" if steps else ""))
            return kept

        image = self._pipeline(
            prompt=request["prompt"],
            generator=torch.Generator().manual_seed(_whole(request["seed"])),
            callback_on_step_end=at_step_end,
            **given,
        ).images[0]
        drawn = {"width": image.width, "height": image.height}
        shown = request.get("shown_size")
        if shown is not None and image.width < _whole(shown):
            scale = _whole(shown) / image.width
            size = (_whole(shown), round(image.height * scale))
            image = image.resize(size, Image.Resampling.BICUBIC)
        image.save(folder / "out" / PICTURE)
        return drawn


def _whole(value: Any) -> int:
    return int(value)
