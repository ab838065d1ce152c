"""What the person wrote: the project, the campaign file and the recipients' table."""
