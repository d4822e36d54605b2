"""Errors by who acts next: the model, the user, the operator or the developer."""

from __future__ import annotations


class LlmosError(Exception):
    """Base of every error that llmos raises on purpose. Its message says what to do."""


class ToolFailed(LlmosError):
    """A tool could not do what was asked; the model reads the message and adapts."""


class RetryCall(LlmosError):
    """A call's arguments are wrong; the model reads the message and mends them."""


class ModelError(LlmosError):
    """A checkpoint is missing, damaged or of an unknown kind; the user names another."""


class UnknownArchitecture(ModelError):
    """A checkpoint is of a kind that an engine does not run; another engine may."""


class ConfigError(LlmosError):
    """A setting, a plugin or a flag is wrong; the user mends it."""


class StateError(LlmosError):
    """The state folder or the journal cannot be used; the user frees or moves it."""


class SandboxUnavailable(LlmosError):
    """Code cannot be isolated on this machine; the user installs what is named."""
