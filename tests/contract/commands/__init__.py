"""Who drives a robot: velocities, handover, and what happens when a driver dies."""
