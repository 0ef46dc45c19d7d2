"""vision_msgs' Python classes, generated with ROS's own generator: `python -m tests.fakes.nodes.vision_msgs FOLDER`.

No wheel has the package; on a robot it comes from apt. The fields are those of its release 4 (Humble to Kilted). What
is generated has ROS's own checks of every field, but no type support in C: messages can be filled, not sent.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

MESSAGES = {
    "Point2D": "float64 x\nfloat64 y\n",
    "Pose2D": "vision_msgs/Point2D position\nfloat64 theta\n",
    "BoundingBox2D": "vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y\n",
    "ObjectHypothesis": "string class_id\nfloat64 score\n",
    "ObjectHypothesisWithPose": "ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose\n",
    "Detection2D": "std_msgs/Header header\nObjectHypothesisWithPose[] results\nBoundingBox2D bbox\nstring id\n",
    "Detection2DArray": "std_msgs/Header header\nDetection2D[] detections\n",
    "Classification": "std_msgs/Header header\nObjectHypothesis[] results\n",
    "VisionInfo": "std_msgs/Header header\nstring method\nstring database_location\nint32 database_version\n",
}


def write_vision_msgs(folder: Path) -> None:
    """Generate the package ``vision_msgs`` in ``folder``, in a process of its own: the generator prints and wants an
    environment. Raises RuntimeError with what it said."""
    environment = {**os.environ, "AMENT_PREFIX_PATH": sys.prefix, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-m", "tests.fakes.nodes.vision_msgs", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)


def main(folder: Path) -> None:
    from rosidl_adapter.msg import convert_msg_to_idl
    from rosidl_generator_py.cli import GeneratePython

    package = folder / "vision_msgs"
    (package / "msg").mkdir(parents=True)
    for name, fields in MESSAGES.items():
        (package / "msg" / f"{name}.msg").write_text(fields)
        with contextlib.redirect_stdout(sys.stderr):
            convert_msg_to_idl(package, "vision_msgs", Path("msg") / f"{name}.msg", package / "msg")
    files = [f"{package}:msg/{name}.idl" for name in MESSAGES]
    GeneratePython("py", typesupport_implementations=["rosidl_typesupport_c"]).generate(
        "vision_msgs", files, [], package
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
