"""How the small checkpoints of draw, look, listen and speak are made and measured.

Knows no kernel and no tool: it writes stock checkpoints that the tools load like any other.
"""
