"""How the embedded checkpoint is made: phrasings, dialogues, tokenizer, recipe."""
