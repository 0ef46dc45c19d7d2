"""Where measurements of the machine come from: procfs, sysfs, and the thread that reads them.

Only the agent imports it; it imports no other room.
"""
