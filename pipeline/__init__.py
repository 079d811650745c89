"""The product's core: paint, find, describe, repaint. No Discord in it."""
