"""From a ROS message to a model's input tensor: subscriptions, adapters by message type, frames, synchronization.

Every room of the executor may import it; it imports no other room.
"""
