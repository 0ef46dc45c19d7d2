"""What the robot's host is told and says: orders, releases, trust, power, verification.

Everybody may import it. It imports the codec and `engine`, nothing of `node`.
"""
