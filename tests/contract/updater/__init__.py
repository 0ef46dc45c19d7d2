"""The robot's updater as real processes, over a real Engine or the fake one."""
