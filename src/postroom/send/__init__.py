"""Where messages, session and journal meet."""
