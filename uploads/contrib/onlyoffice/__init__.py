"""Helpers for a portal whose own views also speak ONLYOFFICE's protocol."""
