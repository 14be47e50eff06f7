"""s3fs against the endpoint and bucket of the command line."""

import os
import sys

import s3fs

endpoint, bucket = sys.argv[1:]
fs = s3fs.S3FileSystem(key="test", secret="test", endpoint_url=endpoint, client_kwargs={"region_name": "us-east-1"})
body = os.urandom(12_000_000)
with fs.open(f"{bucket}/a/b.bin", "wb", block_size=5 << 20) as file:
    file.write(body)
fs.pipe(f"{bucket}/a/c.txt", b"line 1\nline 2\n")
assert sorted(fs.ls(f"{bucket}/a", detail=False)) == [f"{bucket}/a/b.bin", f"{bucket}/a/c.txt"]
with fs.open(f"{bucket}/a/b.bin", "rb") as file:
    file.seek(6_000_000)
    assert file.read(100) == body[6_000_000:6_000_100]
fs.mv(f"{bucket}/a/c.txt", f"{bucket}/d.txt")
assert fs.cat(f"{bucket}/d.txt") == b"line 1\nline 2\n"
with fs.open(f"{bucket}/d.txt", "ab") as file:  # read and written again, as a short object is appended to
    file.write(b"line 3\n")
assert fs.tail(f"{bucket}/d.txt", 7) == b"line 3\n"
assert fs.info(f"{bucket}/a/b.bin")["size"] == len(body)
assert fs.glob(f"{bucket}/**/*.bin") == [f"{bucket}/a/b.bin"]
assert fs.du(bucket) == len(body) + 21
fs.rm(f"{bucket}/a", recursive=True)
assert not fs.exists(f"{bucket}/a/b.bin")
print("ok")
