"""postroom: campaigns as code. A template-driven bulk mailer that never loses its place and never sends twice."""

__version__ = "0.1.0"
