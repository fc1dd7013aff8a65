"""Plain uploads: a POST or PUT carries a file as a whole, without a header of any protocol."""

from __future__ import annotations

from collections.abc import Sequence

from django.http import HttpRequest

from uploads._internal.protocols.resources.base import Variant
from uploads.models import UploadSession


class Plain(Variant):
    is_custom = False

    def __init__(self, request: HttpRequest, others: Sequence[Variant] = ()) -> None:
        super().__init__(request)
        self._others = others

    def state(self, session: UploadSession) -> dict[str, str]:
        """Describe the upload in all protocols: the request does not tell which one its client understands."""
        described: dict[str, str] = {}
        for other in self._others:
            described |= other.state(session)
        return described
