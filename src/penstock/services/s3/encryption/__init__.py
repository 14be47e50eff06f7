"""Encryption at rest: which key a write's bytes are encrypted under, and how a read comes by it again.

Every object has a data key. SSE-S3: the service's own key, sealed under the master key (`service_keys`). SSE-KMS and
DSSE: a key that KMS has made and encrypted (`kms_keys`). SSE-C: made of the key that came with the request
(`customer_keys`). Nothing is encrypted under a data key itself: each blob has a key derived from it (`blobs.sealing`), and
so have the small bodies that are kept in the store (`core.sealed_bodies`). `choice` is for writes, `opening` for reads,
`headers` what is said of it, `configuration` the bucket's default.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/serv-side-encryption.html
"""
