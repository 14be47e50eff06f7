"""The `penstock` command. Puts a node together from its parts; everything below is put together only here."""


def main() -> int:
    """Entry point of the command line. Returns the exit status."""
    raise SystemExit("not yet")
