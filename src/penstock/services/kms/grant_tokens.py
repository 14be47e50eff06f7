"""Grant tokens: they name a grant. Grants are in force at once here, so a token need not be shown; one that is, is read."""

from __future__ import annotations

from typing import NamedTuple

from penstock.core import paging
from penstock.core.operation import Params
from penstock.store.tuples import pack, unpack
from penstock.wire.errors import AwsError

_SCOPE = "kms:GrantToken"


class Named(NamedTuple):
    """The grant that a token names."""

    account: str
    region: str
    key_id: str
    grant_id: str


def made(account: str, region: str, key_id: str, grant_id: str) -> str:
    """The token of a grant."""
    return paging.encode(_SCOPE, pack((account, region, key_id, grant_id)))


def read(token: str) -> Named:
    """The grant that a token names. Raises AwsError InvalidGrantTokenException."""
    try:
        return Named(*unpack(paging.decode(_SCOPE, token)))
    except (paging.BadToken, UnicodeEncodeError):
        raise AwsError("InvalidGrantTokenException", "The grant token is not valid.") from None


def check(params: Params) -> None:
    """Raises AwsError InvalidGrantTokenException where GrantTokens holds something that is none."""
    for token in params.get("GrantTokens", ()):
        read(token)
