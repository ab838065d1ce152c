"""What happened to every recipient: the only memory between runs."""
