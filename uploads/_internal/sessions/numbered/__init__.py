"""Numbered chunks: sent in any order and concurrently; ``finalize`` completes the file."""
