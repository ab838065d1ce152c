"""What would go wrong, found before the first message leaves."""
