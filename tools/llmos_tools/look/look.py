"""`look`: answers about pictures of the workspace, by a vision-language model and tesseract.

Covered: the kernel decodes no picture. One process opens it within limits, turns it into a small
picture without metadata, and reads its text; another runs the model, which sees only that. All
that comes of it is untrusted text.
Not covered: what a picture talks a model into answering.
"""

from __future__ import annotations

import os
from typing import Any

from llmos.model_host import HostedModel, ModelHost, Reply
from llmos.sdk import CallContext, RetryCall, ToolFailed, tool
from llmos_tools.files.workspace import (
    READ,
    check_readable,
    explained,
    opened,
    parts_of,
    workspace_of,
)
from llmos_tools.look.asked import Asked, asked
from llmos_tools.look.settings import LookSettings

MOST_BYTES = 200 << 20
MOST_QUESTION_CHARS = 1000
DESCRIBE = "Describe the picture."
READER = HostedModel("the picture reader", "llmos_tools.look.reader:Reader", "tesseract")
EMBEDDED_NOTE = "the embedded model knows drawn scenes of simple things only"


class Look:
    """Looks at pictures; see `LookSettings` for with which model."""

    def __init__(self, settings: LookSettings, models: ModelHost) -> None:
        self._settings = settings
        self._models = models
        self._model = HostedModel(
            "the vision model", "llmos_tools.look.seer:Seer", settings.folder_or_name
        )

    @tool(
        effects=(),
        is_repeatable=True,
        timeout_s=600,
        max_concurrent=None,
        keywords=("image", "photo", "see", "describe", "show", "shown", "caption", "ocr"),
    )
    async def look(self, image: str, context: CallContext, question: str | None = None) -> str:
        """Answer a question about a picture; by default of simple things, and the text in it.

        Args:
            image: the file
            question: the question
        """
        if question is not None and len(question) > MOST_QUESTION_CHARS:
            raise RetryCall(f"the question is longer than {MOST_QUESTION_CHARS} characters")
        question = question if question and question.strip() else None
        about = asked(question, image)
        picture = await self._read(image, context)
        facts, text = str(picture.value["facts"]), str(picture.value["text"])
        if about is Asked.FILE:
            return f"{facts}\n{_text_line(picture)}".strip()
        if about is Asked.TEXT and (text or self._settings.is_embedded):
            return f"{text or 'no text could be read in it'}\n[{facts}]"
        answer = await self._answer(question or DESCRIBE, picture, context)
        return f"{answer}\n[{facts}]\n{_text_line(picture)}".strip()

    async def _read(self, image: str, context: CallContext) -> Reply:
        request: dict[str, Any] = {
            "name": image,
            "most_megapixels": self._settings.most_megapixels,
        }
        files = {"picture": file_of(image, context)}
        return await self._models.ask(READER, request, files, report=context.report)

    async def _answer(self, question: str, picture: Reply, context: CallContext) -> str:
        reply = await self._models.ask(
            self._model, {"question": question}, picture.files, report=context.report
        )
        answer = str(reply.value["answer"])
        if self._settings.is_embedded and answer.casefold() == "i cannot tell":
            return f"{answer}: {EMBEDDED_NOTE}"
        return answer


def file_of(image: str, context: CallContext) -> bytes:
    """Return what a file of the workspace holds.

    Raises:
        ToolFailed: it is missing, outside, not a file, empty or too large.
    """
    parts = parts_of(image)
    with (
        workspace_of(context) as folder,
        explained(image, lambda: f"there is no file {image!r}: list_files shows what there is"),
        opened(folder, parts, READ) as file,
    ):
        status = os.fstat(file)
        check_readable(image, status)
        if status.st_size == 0:
            raise ToolFailed(f"{image!r} is empty: it holds no picture")
        if status.st_size > MOST_BYTES:
            raise ToolFailed(
                f"{image!r} has {status.st_size:,} bytes, {MOST_BYTES:,} can be looked at"
            )
        with os.fdopen(file, "rb", closefd=False) as stream:
            return stream.read(MOST_BYTES)


def _text_line(picture: Reply) -> str:
    """Return the text in a picture on a line of its own, or why there is none, or nothing."""
    text, problem = str(picture.value["text"]), str(picture.value["problem"])
    if text:
        return f"[text in it: {' / '.join(text.splitlines())}]"
    return f"[{problem}]" if problem else ""
