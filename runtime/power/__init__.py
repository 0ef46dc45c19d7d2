"""Power and heat: which modes may be used, when to step down and up again, and who is told.

Nothing here imports rclpy, numpy or an engine backend: it runs in the health agent's process.
"""
