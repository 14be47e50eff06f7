"""Lists, page by page: Marker in, IsTruncated and Marker out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from penstock.core.operation import Params, Result
from penstock.core.paging import BadToken, decode, encode
from penstock.services.iam import errors

T = TypeVar("T")
DEFAULT_ITEMS = 100


def marker(params: Params, scope: str) -> str:
    """The position after which the page begins, "" for the first. Raises AwsError ValidationError."""
    token = params.get("Marker")
    if not token:
        return ""
    try:
        return decode(scope, token).decode()
    except (BadToken, UnicodeDecodeError):
        raise errors.invalid("Invalid Marker.") from None


def page(
    items: Iterable[T], params: Params, scope: str, member: str, position: Callable[[T], str], view: Callable[[T], Any]
) -> Result:
    """One page of `items` (which begin after the marker), as the operation's result under `member`."""
    limit = params.get("MaxItems", DEFAULT_ITEMS)
    shown: list[Any] = []
    last = ""
    for item in items:
        if len(shown) == limit:
            return {member: shown, "IsTruncated": True, "Marker": encode(scope, last)}
        shown.append(view(item))
        last = position(item)
    return {member: shown, "IsTruncated": False}


def page_of_list(
    items: Iterable[T], params: Params, scope: str, member: str, position: Callable[[T], str], view: Callable[[T], Any]
) -> Result:
    """As `page`, for items that are all at hand: sorted by position and begun after the marker here."""
    after = marker(params, scope)
    left = sorted((item for item in items if position(item) > after), key=position)
    return page(left, params, scope, member, position, view)
