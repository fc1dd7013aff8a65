"""A shop of django-oscar; partners may upload images of the products that they sell."""

from oscar import INSTALLED_APPS as SHOP
from oscar.defaults import *  # noqa: F403
from startproject import *  # noqa: F403

SECRET_KEY = "oscar"
INSTALLED_APPS = [*SHOP, "rest_framework", "uploads"]
SITE_ID = 1
HAYSTACK_CONNECTIONS = {"default": {"ENGINE": "haystack.backends.simple_backend.SimpleEngine"}}
REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"]}

UPLOADS = {
    "DESTINATIONS": {"default": {"BACKEND": "destination.ProductImages"}},
    "MAX_FILE_SIZE": 50 * 2**20,
}
