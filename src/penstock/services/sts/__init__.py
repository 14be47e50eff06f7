"""STS: temporary credentials, and who a caller is.

Lives here: `assume` (AssumeRole and its kin), `sessions` (a user's own sessions), `callers` (who is it). IAM's records
are reached only through the node's directory, which also seals the tokens. Nothing is stored here.
"""

from penstock.services.sts import assume, callers, sessions

__all__ = ["assume", "callers", "sessions"]
