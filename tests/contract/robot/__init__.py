"""The runtime container's processes: agent and executor with real rclpy peers."""
