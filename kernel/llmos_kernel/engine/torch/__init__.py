"""The in-process engine: checkpoints in the Hugging Face form, run by plain PyTorch."""
