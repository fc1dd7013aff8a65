"""What a portal tells the app about itself: destinations, by aliases, in ``UPLOADS``.

``{"DESTINATION": "portal.destination.PortalDestination"}``, or several::

    UPLOADS = {
        "DESTINATIONS": {
            "default": "portal.destination.PortalDestination",
            "avatars": {
                "BACKEND": "uploads.destinations.ModelDestination",
                "OPTIONS": {"model": "people.Avatar", "owner_field": "person"},
            },
        }
    }

``PlainDestination`` and ``ModelDestination`` need no code. To write one, subclass ``Destination`` and override what
the portal has; ``folder`` and ``publish`` are required. To refuse something, raise an error of ``uploads.exceptions``;
nothing is changed then. To be told of something, use ``uploads.signals``.
"""

from __future__ import annotations

from uploads.destinations.base import Destination, EditableFile, Folder, Id, PublishedFile, plain_id
from uploads.destinations.model import ModelDestination
from uploads.destinations.plain import PlainDestination
from uploads.destinations.registry import aliases, all_aliases, destination_of, get_destination

__all__ = [
    "Destination",
    "EditableFile",
    "Folder",
    "Id",
    "ModelDestination",
    "PlainDestination",
    "PublishedFile",
    "aliases",
    "all_aliases",
    "destination_of",
    "get_destination",
    "plain_id",
]
