"""The node that people write first: default QoS, and everything made anew for every frame.

Copy, resize, normalise, transpose, run, publish, all in the callback. The peer of the frame benchmark; its transport
and malloc are stock because its parent gives it no environment for them.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys

import numpy as np
import onnxruntime
import rclpy
from PIL import Image as Picture
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import String

from benchmarks.frames.network import MEAN, RESULT, SIDE, STD, TOPIC


class Naive(Node):
    def __init__(self, model: str) -> None:
        super().__init__("naive")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.frames = 0
        self.publisher = self.create_publisher(String, RESULT, 10)
        self.create_subscription(Image, TOPIC, self.on_image, 10)

    def on_image(self, message: Image) -> None:
        frame = np.array(message.data, dtype=np.uint8).reshape(message.height, message.width, 3).copy()
        small = np.asarray(Picture.fromarray(frame).resize((SIDE, SIDE), Picture.Resampling.BILINEAR))
        tensor = (small.astype(np.float32) / 255.0 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
        scores = self.session.run(None, {"image": tensor.transpose(2, 0, 1)[None].copy()})[0]
        stamp = message.header.stamp
        head = {"stamp": {"sec": stamp.sec, "nanosec": stamp.nanosec}, "frame_id": message.header.frame_id}
        self.publisher.publish(String(data=json.dumps({"header": head, "scores": scores.ravel().tolist()})))
        self.frames += 1


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    arguments = parser.parse_args()
    rclpy.init()
    node = Naive(arguments.model)
    print("ready", flush=True)
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(json.dumps({"frames": node.frames}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
