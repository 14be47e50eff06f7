"""Penstock: S3, DynamoDB, Kinesis, Lambda and the services between them as one durable program.

The layers, from the top: cli > edge > services > events > core > wire | blobs | runtime > store > clock | config |
telemetry. Imports go down only (checked by import-linter). `docs/architecture.md` follows one request through them.
"""

__version__ = "0.1.0"
