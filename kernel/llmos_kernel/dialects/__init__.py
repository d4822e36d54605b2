"""Model families as data: how a conversation is written in tokens and how a call is read back."""
