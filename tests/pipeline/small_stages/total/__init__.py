"""One small stage."""
