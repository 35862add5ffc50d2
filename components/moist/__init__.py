"""moist: one expensive image classifier, turned into a routed set of cheap specialists."""

__version__ = "0.1.0"
