"""From a URL to an engine: the one place that knows which engines there are."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from penstock.store.api import Store, StoreError


async def open_store(url: str, data: Path) -> Store:
    """Open the store that `url` names.

    `memory://`: nothing is kept. `rocks:///absolute/path` or `rocks://relative/path`: RocksDB in that data directory.
    Empty: RocksDB in the data directory `data` (the database itself is in its folder `store`). `postgresql://…`: any
    database of PostgreSQL's protocol. A data directory is claimed for this process until the store is closed.

    Raises StoreError (unknown scheme; DataDirectoryBusy and DataDirectoryFormat of `penstock.store.datadir`),
    EngineFailed (the data cannot be read), OSError.
    """
    scheme = urlsplit(url).scheme
    if scheme == "memory":
        from penstock.store.memory import MemoryStore

        return MemoryStore()
    if scheme in ("", "rocks"):
        if scheme:
            rest = unquote(url.removeprefix("rocks://"))
            if not rest:
                raise StoreError("rocks:// needs a path, as in rocks:///var/lib/penstock")
            data = Path(rest)
        from penstock.store.rocks import open_rocks

        return open_rocks(data)
    if scheme in ("postgresql", "postgres"):
        try:
            from penstock.store.postgres import open_postgres
        except ImportError as error:
            raise StoreError("a postgresql:// store needs psycopg: pip install 'penstock[postgres]'") from error

        return await open_postgres(url)
    raise StoreError(f"unknown store {url!r}: it is memory://, rocks://PATH or postgresql://USER@HOST/DATABASE")
