"""A campaign and a recipient to exact message octets."""
