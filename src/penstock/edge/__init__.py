"""From sockets to calls and back: the listener, and the chain of handlers every request passes. Knows no service.

Lives here: `listener` and `reader` (HTTP/1.1 on a socket), `incoming` and `outgoing` (bodies and heads of messages),
`direct` (long bodies past the parser),
`drive` (running a handler on the spot), `chain` (the order of things, on one screen), `route`, `authenticate`, `sigv4` and
`sigv2` with `payload`, `aws_chunked` and `checksums`, `origin` (web pages), `refusals` (AWS's words for what the chain
itself refuses), `admin` (the server's own endpoints) and `server`.
"""
