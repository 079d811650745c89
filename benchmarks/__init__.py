"""What README's figures come from: `uv run python -m benchmarks.NAME`."""
