"""URLs that a portal includes, one module for each protocol."""
