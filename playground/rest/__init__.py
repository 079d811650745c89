"""The REST API's routes, by area."""
