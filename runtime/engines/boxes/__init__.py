"""A detector's boxes out of its raw output, NumPy alone: the builder measures with what the robot publishes with."""
