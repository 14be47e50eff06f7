"""What services share: operations and their registry, the call at hand, who calls and whether they may.

Lives here: `operation` (the decorator and the registry), `call`, `node` (one server's parts), `identity`, `authz`,
`arn`, `worker`. This folder knows no service by name and no socket.
"""
