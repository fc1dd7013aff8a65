"""Destinations connect the app to a portal: its folders, rules and files.

``UPLOADS`` names one, ``{"DESTINATION": "portal.destination.PortalDestination"}``, or several by alias::

    UPLOADS = {
        "DESTINATIONS": {
            "default": "portal.destination.PortalDestination",
            "avatars": {
                "BACKEND": "uploads.destinations.ModelDestination",
                "OPTIONS": {"model": "people.Avatar", "owner_field": "person"},
            },
        }
    }

``PlainDestination`` and ``ModelDestination`` need no code. To write your own, subclass ``Destination`` and override
the methods that the portal supports; ``folder`` and ``publish`` are required. To refuse an upload, raise an error of
``uploads.exceptions``; nothing is changed then. To be notified of events, use ``uploads.signals``.
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
