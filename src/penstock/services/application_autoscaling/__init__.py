"""Application Auto Scaling: read and write capacity of DynamoDB's tables and global indexes, kept near what is consumed.

Lives here: `targets`, `policies`, `scheduled_actions`, `activities` and `tags` (operations by noun), `records` (what is
stored), `scaling` (what is decided, and how it is carried out), `workers`.
Must not know: other services. Capacity is described and changed through DynamoDB's operations; what was consumed comes from
`core.metrics`.
"""

from penstock.services.application_autoscaling import activities, policies, scheduled_actions, tags, targets, workers

__all__ = ["activities", "policies", "scheduled_actions", "tags", "targets", "workers"]
