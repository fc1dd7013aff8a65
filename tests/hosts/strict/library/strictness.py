"""Transactions, envelopes and error bodies that this portal applies to its own API."""

from django.db import transaction
from rest_framework.renderers import JSONRenderer
from rest_framework.views import exception_handler


class Transactions:
    """Run requests except uploads in a transaction, as django-reversion's middleware does."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if request.path_info.startswith("/v1/"):
            return self.get_response(request)
        with transaction.atomic():
            return self.get_response(request)


class Enveloped(JSONRenderer):
    def render(self, data, accepted_media_type=None, renderer_context=None):
        return super().render({"payload": data}, accepted_media_type, renderer_context)


def handle(error, context):
    response = exception_handler(error, context)
    if response is not None:
        response.data = {"errors": [str(error)]}
    return response
