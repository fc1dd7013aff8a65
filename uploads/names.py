"""Make names from clients safe to display, to store and to download under."""

from __future__ import annotations

import itertools
import posixpath
import re
import unicodedata
from collections.abc import Iterator
from pathlib import PurePosixPath

from uploads.exceptions import InvalidName

MAX_LENGTH = 255
"""Maximum number of characters in a file or folder title."""

SIGNATURE_LENGTH = 52
"""Number of characters in a session's name signature with the slashes around it."""
SHORTEST = 12
"""Minimum number of characters of the file's name in the object's name."""
MAX_DEPTH = 64
"""Maximum number of folders in a relativePath."""

_DEVICES = re.compile(r"(?i)con|prn|aux|nul|(com|lpt)\d")
"""Names of devices on Windows, with any extension."""
_WINDOWS_PATH = re.compile(r"(?i)[a-z]:[\\/]|\\\\|\.{1,2}\\|[^/]*\\[^/]*$")
_UNIX_PATH = re.compile(r"~?/|\.{1,2}/")
_RESERVED = re.compile(r'[*+:"<>?|\\/]')
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
_BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def clean(name: str, length: int = MAX_LENGTH) -> str:
    """Return ``name`` as a title; raise InvalidName if no usable title remains.

    Of a path of the client's system, it is the last segment.

    The title is in Unicode's form NFC, because macOS writes the same name in another form.
    """
    name = _without_path(unicodedata.normalize("NFC", name.strip()))
    title = _cut("".join(_printable(character) for character in name), length)
    title = _RESERVED.sub("_", title)
    if title in ("", ".", ".."):
        raise InvalidName
    return title


def _without_path(name: str) -> str:
    """Return the last segment of a name that is a path of the client's system.

    A slash elsewhere belongs to the name: macOS allows it.
    """
    if _WINDOWS_PATH.match(name):
        return re.split(r"[\\/]", name)[-1]
    return name.rpartition("/")[2] if _UNIX_PATH.match(name) else name


def split_path(path: str, length: int = MAX_LENGTH) -> list[str]:
    """Return the folder titles of a relativePath, which may have backslashes (Windows).

    Empty segments are skipped; ``.`` and ``..`` are refused.
    """
    titles = [clean(segment, length) for segment in re.split(r"[\\/]", path) if segment.strip()]
    if len(titles) > MAX_DEPTH:
        message = f"The relative path has more than {MAX_DEPTH} folders."
        raise InvalidName(message)
    return titles


def _printable(character: str) -> str:
    hidden = unicodedata.category(character) in _UNPRINTABLE or character in _BIDI_CONTROLS
    return "_" if hidden else character


def variants(title: str, length: int = MAX_LENGTH) -> Iterator[str]:
    """Yield ``title``, then numbered variants like ``report (1).pdf``.

    None of them has more than ``length`` characters.
    """
    path = PurePosixPath(title)
    yield _cut(title, length)
    for number in itertools.count(1):
        end = f" ({number}){path.suffix}"
        yield path.stem[: length - len(end)] + end


def for_storage(title: str, length: int = 32) -> str:
    """Return a title as the last segment of an object's name.

    It has at most ``length`` characters, and none that cause problems in a store.
    """
    title = unicodedata.normalize("NFC", title)  # The audit compares a store's listed names in this form.
    title = title.strip()
    plain = re.sub(r"[^-\w.]", "", title.replace(" ", "_"))
    if plain[:1] == "." != title[:1]:  # Only the extension is left of the name.
        plain = f"file{plain}"
    name = _cut(plain.lstrip("."), length).rstrip(".") or "file"
    return f"_{name}"[:length] if _DEVICES.fullmatch(name.partition(".")[0]) else name


def least_length(upload_to: object) -> int:
    """Return the minimum ``max_length`` of a FileField for object names below ``upload_to``."""
    return (0 if callable(upload_to) else len(str(upload_to))) + SIGNATURE_LENGTH + SHORTEST


def fitting(wanted: str, signature: str, longest: int) -> str:
    """Return the object's name: ``wanted`` with ``signature`` before its last segment.

    The last segment is shortened, so that the whole name has at most ``longest`` characters.
    """
    head, tail = posixpath.split(wanted)
    room = longest - len(posixpath.join(head, signature, ""))
    return posixpath.join(head, signature, for_storage(tail, max(SHORTEST, min(room, len(tail)))))


def _cut(name: str, length: int) -> str:
    """Shorten the name but keep its extension, which shows people and programs the file type."""
    if len(name) <= length:
        return name
    extension = PurePosixPath(name.replace("/", "_")).suffix
    if len(extension) > length // 2:
        extension = ""
    return name[: length - len(extension)].rstrip() + extension
