"""The tool `search`, and the index of the pages that were read."""

from llmos_tools.search.tool import Search

__all__ = ["Search"]
