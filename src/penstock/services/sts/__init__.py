"""STS: temporary credentials, and who a caller is.

Lives here: `assume` (AssumeRole), `web_identity` (the same for a provider's token; `jwt` and `providers` check it),
`saml_sessions` (the same for a provider's assertion, which `saml` checks), `narrowing` (session policies and tags), `mfa`
(devices' codes), `sessions` (a user's own sessions), `identity_tokens` (tokens that say elsewhere who a caller is), `callers`
(who is it). IAM's records are reached only through the node's directory, which also seals the tokens. Nothing is stored here.
"""

from penstock.services.sts import assume, callers, identity_tokens, saml_sessions, sessions, web_identity

__all__ = ["assume", "callers", "identity_tokens", "saml_sessions", "sessions", "web_identity"]
