"""Describe this portal to the contract."""

from usual import *  # noqa: F403

TUS = "/tus/"
