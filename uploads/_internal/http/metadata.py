"""Read file metadata as browser libraries spell them: name, type, folder and path."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Mapping

from uploads._internal.sessions import FileRequest, Rules

NAMES = "filename", "name"
TYPES = "filetype", "type"
FOLDERS = "folderid", "folder_id"
ABSENT = "", "null", "undefined"
"""Texts that JavaScript makes of a missing value."""
UNNAMED = "upload"
_CONTENT_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")


def first_value(pairs: Mapping[str, str], keys: tuple[str, ...]) -> str:
    """Return the first value under one of ``keys`` that is not absent, or empty text.

    Clients write the keys in any case, such as ``fileName``.
    """
    given = {key.lower(): value for key, value in pairs.items()} | dict(pairs)
    return next((given[key] for key in keys if given.get(key, "") not in ABSENT), "")


def content_type(text: str) -> str:
    """Return a content type without its parameters, or empty text if it is malformed."""
    kind = text.partition(";")[0].strip().lower()
    return kind if _CONTENT_TYPE.fullmatch(kind) else ""


def named(name: str, kind: str) -> str:
    """Return the file's name; if it is blank, a default name with the type's extension."""
    return name if name.strip() else f"{UNNAMED}{mimetypes.guess_extension(kind) or ''}"


def file_request(pairs: Mapping[str, str], size: int | None, rules: Rules) -> FileRequest:
    """Return the file that the metadata describe. ``size`` is in bytes, None if unknown."""
    kind = content_type(first_value(pairs, TYPES))
    name = named(first_value(pairs, NAMES), kind)
    return FileRequest(
        name=name, size=size, relative_path="/".join(folders(pairs)), content_type=kind, metadata=pairs, rules=rules
    )


def folders(pairs: Mapping[str, str]) -> list[str]:
    """Return the folders in the file's path. Browsers' paths end with the file itself."""
    *above, last = first_value(pairs, ("relativepath",)).split("/")
    name = named(first_value(pairs, NAMES), content_type(first_value(pairs, TYPES)))
    return above if last == name else [*above, last]
