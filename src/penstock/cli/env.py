"""`penstock env`: the exports that point unmodified AWS clients at a server."""

from __future__ import annotations

import shlex

from penstock.config import Settings


def variables(settings: Settings) -> dict[str, str]:
    """The environment variables of an AWS client for a server with these settings."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::", "") else settings.host
    host = f"[{host}]" if ":" in host else host
    return {
        "AWS_ENDPOINT_URL": f"http://{host}:{settings.port}",
        "AWS_ACCESS_KEY_ID": settings.access_key_id,
        "AWS_SECRET_ACCESS_KEY": settings.secret_access_key,
        "AWS_DEFAULT_REGION": settings.region,
    }


def exports(settings: Settings, *, unset: bool = False) -> str:
    """Shell lines, for `eval "$(penstock env)"`."""
    if unset:
        return "\n".join(f"unset {name}" for name in variables(settings))
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables(settings).items())
