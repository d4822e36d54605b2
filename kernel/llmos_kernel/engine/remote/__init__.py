"""Tokens from a server that speaks the OpenAI protocol: vLLM, SGLang, llama.cpp, Ollama and kin."""
