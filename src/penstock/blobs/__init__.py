"""Large immutable bytes: stream in, range out, checksums as they pass. Knows files and the store's transactions only.

Small bodies do not come here: their owner keeps them inline in the store (`penstock.store.chunked`), so that a small
write is one group-committed transaction.

Lives here: the seam (`api`), the engine on files (`files`, with `layout` for what is in a file, `ledger` for what the
store knows of it, `sealing`: its bytes encrypted, `writing`: one on its way in, and `spares`: files to be written again),
`open`, reads that wait for no disk (`at_hand`), running checksums of AWS's algorithms (`checksums`), and memory that is
used again (`buffers`).
"""

from penstock.blobs.api import BlobCorrupt, BlobMissing, Blobs, BlobWriter

__all__ = ["BlobCorrupt", "BlobMissing", "BlobWriter", "Blobs"]
