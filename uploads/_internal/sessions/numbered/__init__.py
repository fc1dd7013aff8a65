"""Numbered chunks: they come in any order, several at once; ``finalize`` completes the file."""
