"""What a protocol's core hands out, as a relay sees it."""


def handed_out(core) -> list[tuple[str, bytes]]:
    """(phase, octets) of each command that may leave now."""
    return [(phase, b"".join(pieces)) for phase, pieces in core.to_write()]
