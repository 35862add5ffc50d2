"""The mixture as one file for inference runtimes: writing it, running it, and checking it against PyTorch."""
