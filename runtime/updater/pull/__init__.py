"""The short-lived process of a robot that pulls: it looks into the registry, and reports to the hub.

It may import `fetching`, `robot` and what is below; the daemon starts it and reads one JSON object from it, so that an
idle updater keeps none of its TLS, HTTP and documents in memory.
"""
