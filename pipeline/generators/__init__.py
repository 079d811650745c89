"""Picture backends, one file each."""
