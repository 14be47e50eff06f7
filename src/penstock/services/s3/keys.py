"""The one place that builds S3's key bytes. Every key begins with a packed tuple; names and keys follow raw, so that
the store's order is S3's order (UTF-8 bytes) and a listing can seek.

    ("s3", "bucket") name                        Bucket                       global: names are unique over all accounts
    ("s3", "owned", account) name                b""                          for ListBuckets
    ("s3", "setting") name 00 kind               the document                 kind: policy, tags, notification, acl, cors,
                                                                              website, logging, accelerate
    ("s3", "o") name 00 key                      ObjectRecord                 the current version of each key
    ("s3", "b") name 00 key                      the body, when it is small   apart, so that listings do not read it
    ("s3", "g") name 00 key                      Extents (chunked)            when they are too many for the record
    ("s3", "u") name 00 esc(key) 00 upload       Upload                       uploads in progress, by key then by age
    ("s3", "p") upload 00 part u16               PartRecord
    ("s3", "al") name 00                         access log (`store.log`)     lines that are not delivered yet
    ("s3", "ag") name                            position                     buckets that have some; delivered up to it
    ("s3", "lease") name                         a lease (`store.lease`)
    ("s3", "sk") key id                          ServiceKey                   sealed under the master key
    ("s3", "skc")                                key id                       the one that is used for new objects
    ("s3", "sm") name                            Held                         what `storage_metrics` has measured
    ("s3", "smd")                                u32                          the day on which it did so last

    ("s3", "v") name 00 esc(key) 00 inverted     ObjectRecord                 versions that are not current, delete markers
    ("s3", "w") name 00 esc(key) 00 inverted     a version's body, when small
    ("s3", "x") name 00 esc(key) 00 inverted     a version's Extents (chunked)
    ("s3", "n") name 00 key                      u64                          order of the null version, if it is at "v"

inverted: 2**63-1 - order, so that a key's newest version comes first (and its first byte is never FF). ("s3", "o") stays
the current view, so that a listing of current objects never meets an old version or a delete marker; where a key has
nothing there, the newest of its versions at "v" is a marker. A record with an order has its body and extents at "w" and
"x" wherever the record itself is, so that they need not move when another version becomes the current one. esc() writes
00 as 00 FF, so that no key is a prefix of another's entries. Bucket names have no byte below 0x2D, so 00 ends them.
"""

from __future__ import annotations

from penstock.store.tuples import pack, prefix_end

BUCKET = pack(("s3", "bucket"))
_SETTING = pack(("s3", "setting"))
_OBJECT = pack(("s3", "o"))
_BODY = pack(("s3", "b"))
_EXTENTS = pack(("s3", "g"))
_UPLOAD = pack(("s3", "u"))
_PART = pack(("s3", "p"))
_VERSION = pack(("s3", "v"))
_VERSION_BODY = pack(("s3", "w"))
_VERSION_EXTENTS = pack(("s3", "x"))
_NULL = pack(("s3", "n"))
_NEWEST = 2**63 - 1
_ACCESS_LOG = pack(("s3", "al"))
LOGGED = pack(("s3", "ag"))
LEASES = pack(("s3", "lease"))
_SERVICE_KEY = pack(("s3", "sk"))
HELD = pack(("s3", "sm"))
MEASURED_ON = pack(("s3", "smd"))
CURRENT_SERVICE_KEY = pack(("s3", "skc"))

POLICY = b"policy"
TAGS = b"tags"
NOTIFICATION = b"notification"
ACL = b"acl"
CORS = b"cors"
WEBSITE = b"website"
LOGGING = b"logging"
ACCELERATE = b"accelerate"


def bucket(name: str) -> bytes:
    return BUCKET + name.encode()


def access_log(name: str) -> bytes:
    """What the keys of a bucket's access log begin with."""
    return b"%b%b\0" % (_ACCESS_LOG, name.encode())


def logged(name: str) -> bytes:
    return LOGGED + name.encode()


def held(name: str) -> bytes:
    return HELD + name.encode()


def service_key(key_id: str) -> bytes:
    return _SERVICE_KEY + key_id.encode()


def owned(account: str) -> bytes:
    """What the keys of an account's buckets begin with; the name follows."""
    return pack(("s3", "owned", account))


def setting(name: str, kind: bytes) -> bytes:
    return b"%b%b\0%b" % (_SETTING, name.encode(), kind)


def settings(name: str) -> tuple[bytes, bytes]:
    """(begin, end) of all of a bucket's settings."""
    begin = b"%b%b\0" % (_SETTING, name.encode())
    return begin, prefix_end(begin)


def objects(name: str) -> bytes:
    """What the keys of a bucket's object records begin with; the object's key follows."""
    return b"%b%b\0" % (_OBJECT, name.encode())


def record(name: str, key: str) -> bytes:
    return _OBJECT + f"{name}\0{key}".encode()


def body(name: str, key: str) -> bytes:
    return _BODY + f"{name}\0{key}".encode()


def extents(name: str, key: str) -> bytes:
    return b"%b%b\0%b" % (_EXTENTS, name.encode(), key.encode())


def versions(name: str) -> bytes:
    """What the keys of a bucket's versions begin with; the escaped key, 00 and the inverted order follow."""
    return b"%b%b\0" % (_VERSION, name.encode())


def versions_of(name: str, key: str) -> tuple[bytes, bytes]:
    """(begin, end) of one object's versions: an inverted order never begins with FF, as the escape of a longer key does."""
    begin = b"%b%b\0%b\0" % (_VERSION, name.encode(), escape(key.encode()))
    return begin, begin + b"\xff"


def _inverted(name: str, key: str, order: int) -> bytes:
    return b"%b\0%b\0%b" % (name.encode(), escape(key.encode()), (_NEWEST - order).to_bytes(8, "big"))


def version(name: str, key: str, order: int) -> bytes:
    return _VERSION + _inverted(name, key, order)


def version_body(name: str, key: str, order: int) -> bytes:
    return _VERSION_BODY + _inverted(name, key, order)


def version_extents(name: str, key: str, order: int) -> bytes:
    return _VERSION_EXTENTS + _inverted(name, key, order)


def split_version(suffix: bytes) -> tuple[bytes, int]:
    """(key, order) of what follows `versions(name)`."""
    return suffix[:-9].replace(b"\0\xff", b"\0"), _NEWEST - int.from_bytes(suffix[-8:], "big")


def null(name: str, key: str) -> bytes:
    return b"%b%b\0%b" % (_NULL, name.encode(), key.encode())


def uploads(name: str) -> bytes:
    """What the keys of a bucket's uploads begin with; `upload_suffix` follows."""
    return b"%b%b\0" % (_UPLOAD, name.encode())


def upload_suffix(key: str, upload_id: str = "") -> bytes:
    return b"%b\0%b" % (escape(key.encode()), upload_id.encode())


def upload(name: str, key: str, upload_id: str) -> bytes:
    return uploads(name) + upload_suffix(key, upload_id)


def split_upload(suffix: bytes) -> tuple[str, str]:
    """(key, upload id) of what follows `uploads(name)`."""
    key, _, upload_id = suffix.rpartition(b"\0")
    return key.replace(b"\0\xff", b"\0").decode(), upload_id.decode()


def parts(upload_id: str) -> bytes:
    """What the keys of an upload's parts begin with; two bytes of part number follow."""
    return b"%b%b\0" % (_PART, upload_id.encode())


def part(upload_id: str, number: int) -> bytes:
    return parts(upload_id) + number.to_bytes(2, "big")


def escape(key: bytes) -> bytes:
    """So that a terminating 00 sorts before all that extends the key."""
    return key.replace(b"\0", b"\0\xff")
