"""The health agent: first process of the runtime container. Supervises the executor and answers for it over HTTP.

Nothing here imports rclpy, numpy or an engine backend: the agent must keep answering when those are what broke.
"""
