"""Large immutable bytes: stream in, range out, checksums as they pass. Knows files and the store's transactions only.

Small bodies do not come here: their owner keeps them inline in the store (`penstock.store.chunked`), so that a small
write is one group-committed transaction.
"""

from penstock.blobs.api import BlobMissing, Blobs, BlobWriter

__all__ = ["BlobMissing", "BlobWriter", "Blobs"]
