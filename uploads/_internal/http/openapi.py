"""Names of drf-spectacular that describe views, without effect if it is not installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Protocol, TypeVar, cast

Method = TypeVar("Method", bound=Callable[..., Any])


class _Nothing:
    """Accept any attribute name and any arguments."""

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self

    def __getattr__(self, _: str) -> Any:
        return self


class Describe(Protocol):
    """Type of a function that returns a decorator, which keeps the method's type."""

    def __call__(self, **description: Any) -> Callable[[Method], Method]: ...


def _undescribed(**_: Any) -> Callable[[Method], Method]:
    return lambda method: method


OpenApiParameter: Any = _Nothing()
OpenApiResponse: Any = _Nothing()
OpenApiTypes: Any = _Nothing()
inline_serializer: Any = _Nothing()
extend_schema: Describe = _undescribed

if find_spec("drf_spectacular"):
    from drf_spectacular import types, utils

    OpenApiParameter, OpenApiResponse, OpenApiTypes = utils.OpenApiParameter, utils.OpenApiResponse, types.OpenApiTypes
    inline_serializer = utils.inline_serializer
    extend_schema = cast("Describe", utils.extend_schema)
