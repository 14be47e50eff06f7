"""The end of RocksDB's write-ahead log after a power cut: telling a torn tail from damage in the middle.

RocksDB drops a record that is cut short by the end of the file, and takes any other bad record for corruption. But a
file system may also leave zeros or old sectors where the last, never synced, writes should have been. Such a tail was
not acknowledged to anybody and is cut off here. If a good record begins behind the bad one it is no tail: nothing is
touched. (What goes on behind it may be the rest of the torn one: a long record is in several fragments, and after a
failed sync or a power cut any of them may be there and any other not.)

The format: https://github.com/facebook/rocksdb/wiki/Write-Ahead-Log-File-Format
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from awscrt.checksums import crc32c

log = logging.getLogger(__name__)

_BLOCK_BYTES = 32768
_HEADER_BYTES = 7
_TYPE_LAST = 11
_CONTINUING = frozenset({3, 4, 7, 8})
"""Types of fragments that are not their record's first: MIDDLE and LAST, and those of recycled files."""
_MASK_DELTA = 0xA282EAD8


def cut_torn_tail(database: Path) -> bool:
    """Cut off what is torn at the end of the newest log file, keeping a copy beside it. Returns whether it did.

    Newer ones that are empty do not count: RocksDB begins one when it tries to get over a failed sync, and when it is
    opened. For a database that is not open. Raises OSError.
    """
    logs = [path for path in sorted(database.glob("[0-9]*.log")) if path.stat().st_size]
    if not logs:
        return False
    data = logs[-1].read_bytes()
    good = _end_of_good_records(data)
    if good >= len(data) or _has_good_record_after(data, good):
        return False
    log.warning("the last %d bytes of %s were torn by a crash and are dropped", len(data) - good, logs[-1])
    with logs[-1].with_suffix(".torn").open("wb") as copy:
        copy.write(data[good:])
    with logs[-1].open("r+b") as file:
        file.truncate(good)
        os.fsync(file.fileno())
    return True


def _end_of_good_records(data: bytes) -> int:
    at = 0
    while at < len(data):
        left = _BLOCK_BYTES - at % _BLOCK_BYTES
        if left < _HEADER_BYTES:
            at += left  # a block's trailer
            continue
        size = _record_bytes(data, at)
        if size == 0:
            return at
        at += size
    return len(data)


def _record_bytes(data: bytes, at: int) -> int:
    """The size, header included, of the good record at `at`; 0 if there is none."""
    header = data[at : at + _HEADER_BYTES]
    if len(header) < _HEADER_BYTES:
        return 0
    length = int.from_bytes(header[4:6], "little")
    end = at + _HEADER_BYTES + length
    if not 0 < header[6] <= _TYPE_LAST or end > len(data) or at % _BLOCK_BYTES + _HEADER_BYTES + length > _BLOCK_BYTES:
        return 0
    crc = crc32c(data[at + 6 : end])
    masked = (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF
    return _HEADER_BYTES + length if masked == int.from_bytes(header[:4], "little") else 0


def _has_good_record_after(data: bytes, bad: int) -> bool:
    """Whether a good record begins anywhere after `bad`; fragments that go on with an earlier one do not count.

    Every byte of the first two blocks is tried, and the beginning of each block after them, where records begin anew.
    """
    nearby = min(len(data), (bad // _BLOCK_BYTES + 2) * _BLOCK_BYTES)
    if any(_begins_record(data, at) for at in range(bad + 1, nearby)):
        return True
    for block in range(nearby, len(data), _BLOCK_BYTES):
        at = block
        while at < min(block + _BLOCK_BYTES, len(data)) and (size := _record_bytes(data, at)):
            if _begins_record(data, at):
                return True
            at += size
    return False


def _begins_record(data: bytes, at: int) -> bool:
    # The type is looked at first: it costs less than the checksum.
    return at + 6 < len(data) and data[at + 6] not in _CONTINUING and _record_bytes(data, at) > 0
