"""Isolation of code that is not trusted, for tools and plugins alike."""
