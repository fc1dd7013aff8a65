"""The REST API: reads requests, calls one verb of ``uploads.sessions``, words the answer."""
