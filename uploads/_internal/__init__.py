"""Everything that portals do not import: it may change with any release."""
