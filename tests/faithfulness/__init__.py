"""Is the why true."""
