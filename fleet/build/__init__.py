"""Engines and base images, built in containers.

Only the command line imports it; it never imports its siblings `publish` and `rollout`.
"""
