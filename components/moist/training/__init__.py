"""Losses and loops. No I/O, no kfp."""
