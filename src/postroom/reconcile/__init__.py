"""Evidence for what the journal calls uncertain: the relay's own log, or a Sent folder."""
