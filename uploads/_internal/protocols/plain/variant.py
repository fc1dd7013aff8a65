"""Plain uploads: a POST or PUT carries a whole file without any protocol's headers."""

from __future__ import annotations

from collections.abc import Sequence

from django.http import HttpRequest

from uploads._internal.protocols.resources.base import Variant
from uploads.models import UploadSession


class Plain(Variant):
    protocol = "plain"
    is_custom = False

    def __init__(self, request: HttpRequest, others: Sequence[Variant] = ()) -> None:
        super().__init__(request)
        self._others = others

    def state(self, session: UploadSession) -> dict[str, str]:
        """Return the headers of all protocols, because the client's own protocol is unknown."""
        described: dict[str, str] = {}
        for other in self._others:
            described |= other.state(session)
        return described
