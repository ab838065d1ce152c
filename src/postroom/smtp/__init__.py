"""Octets over one connection to the relay and back: knows messages and replies, nothing of campaigns."""
