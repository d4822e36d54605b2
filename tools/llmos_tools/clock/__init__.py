"""The clock: what time it is anywhere, and timers."""

from llmos_tools.clock.clock import Clock

__all__ = ["Clock"]
