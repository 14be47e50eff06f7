"""Amazon S3: buckets, objects, copies, listings, multipart uploads, bucket policies and notifications to Lambda.

A file a noun: `buckets` and their settings (`tagging`, `policies`, `notifications`; `defaults` for what cannot be
changed yet), `objects` with `reading`, `writing`, `conditions`, `checksums` and `bodies`, `copying`, `deleting`, `listing`,
`attributes`, versions in `versions` and `versioning`, Object Lock in `locks`, ACLs in `acls` and `grants`, and multipart
uploads in `uploads`, `parts` and `completion`. `encryption` keeps all of it encrypted, `access` says whose a bucket is,
`events` what a write tells the bucket's notification targets, `rules` how things may be named. Key bytes are built in
`keys` alone. `owner_settings`, `log_lines` and `access_logs` are for the bucket's owner. `cors`, `website` and `pages` serve
browsers, and alone know of HTTP. `select` is S3 Select; directory buckets are
in `zones`, `sessions`, `appending` and `renaming`. This folder
knows no other service.
"""

from pathlib import Path

from penstock.services.s3 import (
    acls,
    attributes,
    buckets,
    completion,
    copying,
    cors,
    defaults,
    deleting,
    listing,
    locks,
    notifications,
    objects,
    owner_settings,
    pages,
    parts,
    policies,
    renaming,
    request_keys,
    sessions,
    tagging,
    uploads,
    versioning,
    website,
    workers,
)
from penstock.services.s3.encryption import configuration as encryption
from penstock.services.s3.select import operations as select
from penstock.wire import models

models.patch("s3", Path(__file__).with_name("model-patch.json"))

__all__ = [
    "acls",
    "attributes",
    "buckets",
    "completion",
    "copying",
    "cors",
    "defaults",
    "deleting",
    "encryption",
    "listing",
    "locks",
    "notifications",
    "objects",
    "owner_settings",
    "pages",
    "parts",
    "policies",
    "renaming",
    "request_keys",
    "select",
    "sessions",
    "tagging",
    "uploads",
    "versioning",
    "website",
    "workers",
]
