"""Long-term memory: facts that outlive the process that kept them."""

from llmos_tools.memory.tools import forget, recall, remember

__all__ = ["forget", "recall", "remember"]
