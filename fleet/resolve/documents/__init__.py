"""What robots and builders are given: build jobs and engine keys, the node's configuration, power, resources, trust.

Only the resolver and what is above `resolve` import it; it imports nothing of `images`.
"""
