"""CloudWatch Logs: groups, streams, events, filter patterns, retention.

Lives here: `groups`, `streams`, `events`, `tags` (operations by noun), `chunks` (how events are kept and read back in
order), `patterns` with `json_patterns` and `field_patterns` (what FilterLogEvents understands), `workers` (retention).
Knows no other service: who writes logs calls PutLogEvents.
"""

from penstock.services.logs import events, groups, streams, tags, workers

__all__ = ["events", "groups", "streams", "tags", "workers"]
