"""The executor's process: started, watched, configured, ended, and what the two say to each other.

Every room of `runtime.health` may import it, and so may the executor; it imports no other room.
"""
