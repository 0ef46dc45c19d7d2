"""A new updater on trial: the launcher that starts and judges it, and the daemon's side of the trial.

`launcher` is copied to the robot alone and imports nothing of ours; the daemon and the commands may import this room.
"""
