"""The tool `speak`: text said aloud, or into a WAV file where there is no loudspeaker."""

from llmos_tools.speak.tool import Speak

__all__ = ["Speak"]
