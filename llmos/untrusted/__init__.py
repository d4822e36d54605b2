"""Plugins that are not trusted: each in a sandboxed process of its own."""
