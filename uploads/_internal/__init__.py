"""Internal code, which may change with any release. Portals do not import it."""
