"""Binary embeddings: small codes for float vectors, and fast search among them."""
