"""Models of tools (pictures, speech), each in a process of its own, within one bound on memory.

    async def draw(self, prompt: str, context: CallContext) -> Output:
        reply = await self._models.ask(PAINTER, {"prompt": prompt}, report=context.report)
        return Output("...", (save_free(context.workspace, "picture.png", reply.files["0.png"]),))

Knows nothing of what a model is for. Imports no torch; the processes do.
"""

from llmos.model_host.host import ModelHost
from llmos.model_host.settings import HostSettings
from llmos.model_host.values import HostedModel, Reply

__all__ = ["HostSettings", "HostedModel", "ModelHost", "Reply"]
