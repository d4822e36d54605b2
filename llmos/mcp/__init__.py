"""The Model Context Protocol, both ways: others' servers as tools, and our tools for others."""
