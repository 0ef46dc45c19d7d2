"""What is installed on a robot's host, once: host key, updater, trust.

Imports `link` and what is below; `rollout` and the command line may import it.
"""
