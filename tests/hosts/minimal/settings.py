"""A portal with Django's own apps only: no models, no folders, no code, no settings of REST framework."""

from startproject import *  # noqa: F403

SECRET_KEY = "minimal"
INSTALLED_APPS += ["rest_framework", "uploads"]
SILENCED_SYSTEM_CHECKS = ["uploads.W020"]  # Passwords may be sent, as REST framework has it by default.

UPLOADS = {"DESTINATION": "uploads.destinations.PlainDestination", "MAX_FILE_SIZE": 2**40}
