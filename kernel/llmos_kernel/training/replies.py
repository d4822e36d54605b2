"""What an assistant says where no tool fits or a call failed."""

from __future__ import annotations

NO_TOOL_REPLIES = (
    "I have no tool for that.",
    "I can't do that: no tool of mine fits.",
    "Sorry, I have no tool for that here.",
    "None of my tools can do that.",
)
FAILURE_REPLIES = (
    "That did not work: <error>",
    "I could not do that: <error>",
    "It failed: <error>",
    "Sorry, there was an error: <error>",
    "I got an error: <error>",
)
