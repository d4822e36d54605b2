"""`draw`: a picture of what is described, by a diffusion model in a process of its own."""

from llmos_tools.draw.draw import Draw

__all__ = ["Draw"]
