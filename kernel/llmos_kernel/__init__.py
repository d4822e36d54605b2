"""The kernel of llmos: processes that share one local model, their traps, tools and journal."""
