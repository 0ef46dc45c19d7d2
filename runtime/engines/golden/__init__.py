"""Known frames and what is measured with them: golden and calibration data, accuracy, task metric, latency, self-test.

Backends, builds and the executor may import it; it imports `graph` and no backend.
"""
