"""One process that serves a gallery over HTTP and upgrades it: API, metrics, dashboard.

It needs the extra `service`. `hotfill serve` is the way in; `app.create_app` is for embedding it.
"""
