"""From sockets to calls and back: the listener, and the chain of handlers every request passes. Knows no service."""
