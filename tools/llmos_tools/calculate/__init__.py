"""The tool `calculate`: exact and symbolic maths in a process of its own.

Imports no sympy, since the kernel imports this at start-up to read what the tool is called.
"""

from llmos_tools.calculate.calculate import Calculate

__all__ = ["Calculate"]
