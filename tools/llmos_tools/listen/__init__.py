"""The tool `listen`: speech to text. Knows no microphone."""

from llmos_tools.listen.listen import Listen

__all__ = ["Listen"]
