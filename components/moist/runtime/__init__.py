"""The stage contract: settings to flags, artifacts, object store, provenance, and the local runner."""
