"""What members do, one kind a file."""
