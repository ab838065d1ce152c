"""What became of a campaign's recipients, told after a run: in words, as the table back, as the next table."""
