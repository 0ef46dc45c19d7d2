"""The agent's HTTP server, where it listens, and the report as Prometheus metrics.

The agent and `checks` may import it; it imports `process`.
"""
