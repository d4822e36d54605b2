"""The tool `python`: a stateful Python for each process, in a sandbox.

Imports no jupyter_client, since the kernel imports this at start-up to read what the tool is
called.
"""

from llmos_tools.python.tool import Python

__all__ = ["Python"]
