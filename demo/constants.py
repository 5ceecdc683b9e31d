"""What the traffic and its judge must agree on."""

K = 10
"""How many hits a search asks for."""
