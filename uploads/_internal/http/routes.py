"""Find the place of a protocol in the host's URLs, and its other routes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from django.http import HttpRequest
from django.urls import NoReverseMatch, URLResolver, get_resolver, get_script_prefix, reverse


def names_of(name: str, package: str) -> Iterator[str]:
    """Yield the names that reverse a route called ``name`` whose view is in ``package``."""
    yield from _names(get_resolver(), (), name, package)


def _names(resolver: URLResolver, namespaces: tuple[str, ...], name: str, package: str) -> Iterator[str]:
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            within = (*namespaces, entry.namespace) if entry.namespace else namespaces
            yield from _names(entry, within, name, package)
        elif entry.name == name and is_of(entry.callback, package):
            yield ":".join((*namespaces, name))


def is_of(view: Any, package: str) -> bool:
    """Return whether a view belongs to ``package``."""
    return str(getattr(getattr(view, "cls", None), "__module__", "")).startswith(f"{package}.")


def reverse_sibling(request: HttpRequest, name: str, *own: str, **kwargs: object) -> str:
    """Return the path of another route in the include that ``request`` came through.

    Path parameters before the include are kept. ``own`` names parameters of the protocol's routes, which are dropped.
    Raises NoReverseMatch.
    """
    match = request.resolver_match
    given_along: dict[str, Any] = getattr(match, "extra_kwargs", {})  # by include(), not in the path
    before = {} if match is None else {name: value for name, value in match.kwargs.items() if name not in own}
    before = {name: value for name, value in before.items() if name not in given_along}
    return reverse(":".join([*(match.namespaces if match else []), name]), kwargs=before | kwargs)


def below_prefix(name: str, package: str) -> str | None:
    """Return the route's path below the portal's own prefix.

    Return None if the route is not included, or if its path depends on the request.
    """
    for found in names_of(name, package):
        with suppress(NoReverseMatch):
            return reverse(found).removeprefix(get_script_prefix())
    return None
