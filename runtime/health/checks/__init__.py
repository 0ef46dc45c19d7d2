"""From samples to a judgement: readings, readiness, the report, and the robot's verification of itself.

Only the agent may import it; it may import `process` and `http`.
"""
