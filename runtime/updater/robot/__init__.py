"""The robot itself: Docker, processes, sockets, locks, and the World made of them.

Imports `state`, `transaction` and `storage`; no other room touches Docker or starts processes.
"""
