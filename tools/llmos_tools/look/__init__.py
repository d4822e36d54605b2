"""`look`: a question about a picture, and the text in it."""

from llmos_tools.look.look import Look

__all__ = ["Look"]
