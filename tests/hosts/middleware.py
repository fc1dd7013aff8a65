"""Middleware as other portals have it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse, QueryDict


class Middleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response


class Transactional(Middleware):
    """Run each unsafe request in a transaction, as django-reversion's middleware does."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return self.get_response(request)
        with transaction.atomic():
            return self.get_response(request)


class Reading(Middleware):
    """Read every form before the view does."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.POST.get("theme")
        return self.get_response(request)


class Underscoring(Middleware):
    """Rename chunkNumber to chunk_number, as djangorestframework-camel-case's middleware does."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        query = QueryDict(mutable=True)
        values: Any = request.GET
        for name, value in values.items():
            query[re.sub("([A-Z])", r"_\1", name).lower()] = value
        request.GET = query  # type: ignore[assignment]
        return self.get_response(request)
