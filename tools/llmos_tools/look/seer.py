"""A vision-language model in a process of its own: one picture, one question, one answer.

Knows only what transformers calls `AutoModelForImageTextToText` and `AutoProcessor`; no
checkpoint's own code is run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmos.sdk import ToolFailed
from llmos_kernel.abi import JsonObject

MOST_TOKENS = 256


class Seer:
    """The guest of the model host that looks."""

    def __init__(self, checkpoint: str, report: Callable[[str], None]) -> None:
        report("loading the vision model")
        try:
            import torch
            from transformers import AutoModelForImageTextToText
            from transformers.utils.logging import disable_progress_bar
        except ImportError as error:
            raise ToolFailed("look needs more packages: pip install 'llmos[look]'") from error
        disable_progress_bar()
        self._processor: Any = _processor(checkpoint)
        model: Any = AutoModelForImageTextToText.from_pretrained(
            checkpoint, dtype="auto", use_safetensors=True
        )
        if torch.cuda.is_available():
            model = model.to("cuda")
        elif model.dtype == torch.float16:  # which processors compute slowly, or not at all
            model = model.float()
        self._model = model.eval()

    def answer(
        self, request: JsonObject, folder: Path, report: Callable[[str], None]
    ) -> JsonObject:
        """Return the `answer` to the `question` about `picture.png`."""
        import torch
        from PIL import Image

        report("looking")
        with Image.open(folder / "picture.png", formats=("PNG",)) as image:
            picture = image.convert("RGB")
        prompt = self._prompt(self._plain(str(request["question"])))
        inputs = self._processor(images=[picture], text=[prompt], return_tensors="pt")
        inputs = inputs.to(self._model.device, self._model.dtype)
        with torch.inference_mode():
            tokens = self._model.generate(**inputs, max_new_tokens=MOST_TOKENS, do_sample=False)
        said = tokens[0, inputs["input_ids"].shape[1] :]
        answer = self._processor.tokenizer.decode(said, skip_special_tokens=True)
        return {"answer": answer.strip() or "the model says nothing"}

    def _plain(self, question: str) -> str:
        """Return a question without what would be a token that steers the model."""
        tokenizer = self._processor.tokenizer
        for token in tokenizer.get_added_vocab():
            question = question.replace(token, " ")
        return question

    def _prompt(self, question: str) -> str:
        content = [{"type": "image"}, {"type": "text", "text": question}]
        messages = [{"role": "user", "content": content}]
        if getattr(self._processor, "chat_template", None):
            return self._processor.apply_chat_template(messages, add_generation_prompt=True)
        return f"{getattr(self._processor, 'image_token', '<image>')}\n{question}\n"


def _processor(checkpoint: str) -> Any:
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(checkpoint)
    except ImportError as error:
        if "torchvision" not in str(error).casefold():
            raise
    return _processor_of_pictures(checkpoint)


def _processor_of_pictures(checkpoint: str) -> Any:
    """Build a processor that also takes videos, for which alone it wants torchvision, without."""
    from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    kind: Any = PROCESSOR_MAPPING[type(AutoConfig.from_pretrained(checkpoint))]

    class OfPictures(kind):
        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if argument_name == "video_processor":
                return NoVideos
            return super().check_argument_for_proper_class(argument_name, argument)

    saved, _ = kind.get_processor_dict(checkpoint)
    taken = inspect.signature(kind).parameters.keys() - set(kind.get_attributes())
    return OfPictures(
        image_processor=AutoImageProcessor.from_pretrained(checkpoint),
        tokenizer=AutoTokenizer.from_pretrained(checkpoint),
        video_processor=NoVideos(),
        **{name: value for name, value in saved.items() if name in taken},
    )


class NoVideos:
    """Stands where transformers asks for a processor of videos."""

    model_input_names = ()
