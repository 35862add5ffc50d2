"""One folder a stage: settings.py (defaults), component.py (what Kubeflow sees), program.py (what runs)."""
