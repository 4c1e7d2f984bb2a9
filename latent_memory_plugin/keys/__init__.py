"""Question → key."""
