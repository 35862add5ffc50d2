"""Pipelines besides the MoIST one, which is pipeline.py itself."""
