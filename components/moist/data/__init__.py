"""Data sets: where they come from, how they are stored, how they become batches. No kfp, no object store."""
