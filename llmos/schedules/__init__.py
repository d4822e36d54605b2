"""Tasks that run later, once or again and again."""
