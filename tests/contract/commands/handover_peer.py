"""A base and its camera that record who commands them: sources of commands in order, and publishers as the graph shows.

Answers each line on standard input with one JSON object of what happened since the line before. Not a test module.
"""

from __future__ import annotations

import queue
import sys
import threading
from itertools import groupby

import rclpy

from tests.contract.commands.velocity_peer import Peer
from tests.fakes.nodes.velocity_engine import COMMANDS


def read_lines(lines: queue.Queue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    lines.put("")


def main() -> None:
    rclpy.init()
    node = rclpy.create_node("peer")
    peer = Peer(node)
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=read_lines, args=(lines,), daemon=True).start()
    most = 0
    while True:
        rclpy.spin_once(node, timeout_sec=0.005)
        most = max(most, len(node.get_publishers_info_by_topic(COMMANDS)))
        if lines.empty():
            continue
        if not lines.get():
            return
        commands = list(zip(peer.sources, peer.commands, peer.arrived, strict=True))
        runs = [
            {
                "source": source,
                "last": group[-1][1],
                "count": len(group),
                "first_at": group[0][2],
                "last_at": group[-1][2],
            }
            for source, group in ((source, list(members)) for source, members in groupby(commands, lambda one: one[0]))
        ]
        peer.tell(runs=runs, publishers=most, now=len(node.get_publishers_info_by_topic(COMMANDS)))
        peer.sources.clear()
        peer.commands.clear()
        peer.arrived.clear()
        most = 0


if __name__ == "__main__":
    main()
