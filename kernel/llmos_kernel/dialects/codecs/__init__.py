"""How the body of a call is written and read: one module a codec, none knows token ids."""
