"""Rollouts to robots that pull: the plan's stages, what each robot's report says of it, and what is to be signed next.

Pure: the command line reads registry and hub, and signs. Only it imports this; this imports the gate and the tally.
"""
