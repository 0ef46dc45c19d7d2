"""Malformed manifests: each is one problem that says where it is, what is wrong and what to do."""

# ruff: noqa: E501  (one case a line reads better)
from __future__ import annotations

import time
from pathlib import Path

import pytest

from fleet.manifest.yaml.yaml_text import MAX_FLAWS, MAX_VALUES, parse_document
from tests.unit.manifest.texts import FILES, MODEL, TEXTS, Case, broken, line_of

C = Case
ROBOT1 = "{name: amr-001, host: 10.0.0.11, group: amr}"
ROBOT2 = "{name: amr-002, host: 10.0.0.12, group: amr}"
ROBOT3 = "{name: scout-001, host: 10.0.0.13, group: scout}"
GOLDEN = "golden: {data: golden/detector.npz}\n"
IMAGE_TO_GATES = MODEL[MODEL.index("    topic: /camera") : MODEL.index("  latency_p99")]
IN_A_SCAN = f"""\
    topic: /scan
    type: sensor_msgs/msg/LaserScan
outputs:
  - {{tensor: scores, topic: ~/detector/scores, decoder: {{name: boxes}}}}
precisions: {{int8: {{calibration: calibration}}}}
{GOLDEN}gates:
  metric: {{name: map50, output: scores}}
"""

TEXT_CASES = [
    C(
        "unclosed bracket",
        "fleet",
        "models/detector.yaml",
        "[models/detector.yaml",
        "",
        "not YAML",
        "bracket",
        "defaults",
    ),
    C("tab", "fleet", "  - models/detector.yaml", "\t- models/detector.yaml", "", "a tab", "spaces", "\t-"),
    C("colon in plain text", "fleet", "fleet: testing", "fleet: a: b", "", "not YAML", "quote", "fleet: a"),
    C("bad indentation", "fleet", "    labels:", "   labels:", "", "not YAML", "column", "    models: [{model: det"),
    C("unclosed quote", "fleet", "fleet: testing", 'fleet: "testing', "", "not YAML", "quote", "registry"),
    C(
        "duplicate key",
        "fleet",
        "version: 1.0.0",
        "version: 1.0.0\nversion: 1.0.1",
        "version",
        "given twice",
        "keep",
        "1.0.1",
    ),
    C(
        "alias",
        "fleet",
        "  scout: {models: [{model: detector, precision: fp16}]}",
        "  scout: *amr",
        "groups/scout",
        "aliases",
        "groups",
    ),
    C("anchor", "fleet", "  amr:\n", "  amr: &amr\n", "groups/amr", "anchors", "groups"),
    C("tag", "fleet", "fleet: testing", "fleet: !!python/name:os.system x", "fleet", "tags", "remove"),
    C("two documents", "fleet", "groups:", "---\ngroups:", "", "second document", "one document"),
    C("empty file", "fleet", "", "# nothing\n", "", "empty", "fleet init"),
    C("list at the top", "fleet", "", "- a\n- b\n", "", "key: value", "fleet docs"),
    C("text at the top", "fleet", "", "hello\n", "", "key: value", "fleet docs"),
    C("key that is a list", "fleet", "fleet: testing", "[fleet]: testing", "", "key must be", "key: value"),
    C(
        "yes",
        "fleet",
        "plain_http: true",
        "plain_http: yes",
        "registry/plain_http",
        "different things",
        "true or false",
    ),
    C(
        "leading zero",
        "fleet",
        "host: 10.0.0.11,",
        "host: 10.0.0.11, port: 022,",
        "robots/0/port",
        "different things",
        "zero",
    ),
    C("control character", "fleet", "fleet: testing", "fleet: te\x01sting", "", "not YAML", "control"),
]

FLEET_CASES = [
    C("unknown key", "fleet", "fleet: testing", "fleet: testing\nrobotz: []", "robotz", "unknown key", "robots?", "robotz"),
    C("unknown key in robot", "fleet", ROBOT2, "{name: amr-002, hots: x, host: h, group: amr}", "robots/1/hots", "unknown key", "host?"),
    C("unknown key without likeness", "fleet", "soak: 1s", "zzz: 1", "rollout/zzz", "unknown key", "known: "),
    C("merge key", "fleet", "defaults: {profile", "defaults: {<<: {port: 1}, profile", "defaults/<<", "unknown key", "known"),
    C("missing key", "fleet", "version: 1.0.0\n", "", "version", "missing", "add it", "apiVersion"),
    C("missing host", "fleet", ROBOT2, "{name: amr-002, group: amr}", "robots/1/host", "missing", "add it"),
    C("other apiVersion", "fleet", "jetfleet/v1", "jetfleet/v2", "apiVersion", "not possible", "jetfleet/v1"),
    C("version is a number", "fleet", "1.0.0", "1.10", "version", "text is expected", '"1.10"'),
    C("version of two parts", "fleet", "1.0.0", '"1.0"', "version", "not a valid version", "three numbers"),
    C("fleet's name", "fleet", "fleet: testing", "fleet: My Fleet", "fleet", "not a valid fleet", "lower-case"),
    C("registry with scheme", "fleet", '"registry.test:5000/testing"', '"http://r/x"', "registry/address", "not a valid", "without http"),
    C("registry without prefix", "fleet", '"registry.test:5000/testing"', "localhost", "registry/address", "not a valid", "host[:port]"),
    C("list is text", "fleet", "[profiles/sim-x86.yaml]", "profiles/sim-x86.yaml", "profiles", "a list is expected", "[profiles/sim-x86.yaml]"),
    C("empty list", "fleet", "[profiles/sim-x86.yaml]", "[]", "profiles", "empty", "at least one"),
    C("null", "fleet", "fleet: testing", "fleet:", "fleet", "not nothing", "remove"),
    C("robot is text", "fleet", ROBOT2, "amr-002", "robots/1", "keys with values", "fleet docs"),
    C("label is a number", "fleet", "{site: hall-1}", "{site: 1}", "groups/amr/labels/site", "text is expected", '"1"'),
    C("label is a switch", "fleet", "{site: hall-1}", "{site: true}", "groups/amr/labels/site", "text is expected", "quotes"),
    C("label with comma", "fleet", "{site: hall-1}", '{site: "a,b"}', "groups/amr/labels/site", "not a valid", "selectors"),
    C("environment number", "fleet", "user: jetson}", "user: jetson, environment: {ROS_DOMAIN_ID: 7}}", "defaults/environment/ROS_DOMAIN_ID", "text is expected", '"7"'),
    C("environment newline", "fleet", "user: jetson}", 'user: jetson, environment: {A: "b\\nJETFLEET_IMAGE=x"}}', "defaults/environment/A", "not a valid", "one line"),
    C("reserved environment", "fleet", "user: jetson}", "user: jetson, environment: {JETFLEET_IMAGE: x}}", "defaults/environment/JETFLEET_IMAGE", "jetfleet sets it", "another"),
    C("port out of range", "fleet", "host: 10.0.0.11,", "host: 10.0.0.11, port: 99999,", "robots/0/port", "out of range", "65535"),
    C("port is text", "fleet", "host: 10.0.0.11,", 'host: 10.0.0.11, port: "22",', "robots/0/port", "whole number", "whole number"),
    C("host with user", "fleet", "10.0.0.11", "jetson@10.0.0.11", "robots/0/host", "not a valid host", "user"),
    C("robot's name", "fleet", "amr-001", "AMR_1", "robots/0/name", "not a valid name", "lower-case"),
    C("group's name", "fleet", "  scout: {", "  Scout: {", "groups/Scout", "not a valid Scout", "lower-case"),
    C("duplicate robot", "fleet", "amr-002", "amr-001", "robots/1/name", "two robots", "line 16", "10.0.0.12"),
    C("duplicate address", "fleet", "10.0.0.12", "10.0.0.11", "robots/1/host", "taken", "amr-001", "amr-002"),
    C("robot named as a group", "fleet", "name: scout-001", "name: scout", "robots/2/name", "also the name of a group", "rename"),
    C("unknown group", "fleet", "group: scout", "group: scoot", "robots/2/group", "no group", "scout?"),
    C("unknown profile", "fleet", "profile: sim-x86", "profile: sim-x68", "defaults/profile", "no profile", "sim-x86?"),
    C("unknown profile of a robot", "fleet", "group: scout}", "group: scout, profile: orin}", "robots/2/profile", "no profile", "sim-x86"),
    C("unknown model", "fleet", "{model: detector, precision: fp16}", "{model: detektor, precision: fp16}", "groups/scout/models/0/model", "no model", "detector?"),
    C("model used twice", "fleet", "precision: fp32}]", "precision: fp32}, {model: detector}]", "groups/amr/models/1/model", "used twice", "models/0"),
    C("bad precision", "fleet", "fp16", "fp8", "groups/scout/models/0/precision", "not possible", "int8"),
    C("no precision", "fleet", "{model: detector, precision: fp16}", "{model: detector}", "groups/scout/models/0", "no precision", "fp32"),
    C("no profile", "fleet", "profile: sim-x86, ", "", "robots/0", "no profile", "defaults", "amr-001"),
    C("no model", "fleet", "group: scout}", "}", "robots/2", "no model", "group", "scout-001"),
    C("model taken off", "fleet", "group: scout}", "group: scout, models: [{model: detector, enabled: false}]}", "robots/2", "no model", "group"),
    C("unknown power mode", "fleet", "user: jetson}", "user: jetson, power_mode: 25W}", "defaults/power_mode", "no power mode", "15W"),
    C("profile file missing", "fleet", "[profiles/sim-x86.yaml]", "[profiles/sim-x86.yaml, profiles/no.yaml]", "profiles/1", "does not exist", "relative"),
    C("profile is a folder", "fleet", "[profiles/sim-x86.yaml]", "[profiles/sim-x86.yaml, profiles]", "profiles/1", "is a folder", "YAML file"),
    C("path outside", "fleet", "[profiles/sim-x86.yaml]", "[profiles/sim-x86.yaml, ../x.yaml]", "profiles/1", "outside", "reviewed"),
    C("absolute path", "fleet", "[profiles/sim-x86.yaml]", "[profiles/sim-x86.yaml, /etc/passwd]", "profiles/1", "outside", "reviewed"),
    C("file named twice", "fleet", "[profiles/sim-x86.yaml]", "[profiles/sim-x86.yaml, ./profiles/sim-x86.yaml]", "profiles/1", "twice", "profiles/0"),
    C("duration without unit", "fleet", "soak: 1s", "soak: 30", "rollout/soak", "not a duration", "unit"),
    C("duration with bad unit", "fleet", "soak: 1s", "soak: 1 day", "rollout/soak", "not a duration", "unit"),
    C("percentage", "fleet", "soak: 1s", "success: 0.95", "rollout/success", "not a percentage", "95%"),
    C("percentage over 100", "fleet", "soak: 1s", "success: 120%", "rollout/success", "out of range", "at most"),
    C("wave zero", "fleet", "[1, 100%]", "[0, 100%]", "rollout/waves/0", "not a wave", "count"),
    C("wave of 200%", "fleet", "[1, 100%]", "[1, 200%]", "rollout/waves/1", "not a wave", "percentage"),
    C("waves end early", "fleet", "[1, 100%]", "[1, 50%]", "rollout/waves", "not reach every", "100%"),
    C("waves shrink", "fleet", "[1, 100%]", "[50%, 10%, 100%]", "rollout/waves", "not reach more robots", "totals"),
    C("count after percentage", "fleet", "[1, 100%]", "[10%, 5, 100%]", "rollout/waves", "after a percentage", "counts first"),
    C("on_failure", "fleet", "soak: 1s", "on_failure: pray", "rollout/on_failure", "not possible", "revert"),
    C("label that no robot has", "fleet", "soak: 1s", "max_unavailable: {per: sites, robots: 1}", "rollout/max_unavailable/per", "no robot", "site?"),
]  # fmt: skip

PROFILE_CASES = [
    C("profile's key", "profile", "backend:", "backened:", "backened", "unknown key", "backend?"),
    C("unknown backend", "profile", "onnxruntime", "tflite", "backend", "not possible", "tensorrt"),
    C("platform", "profile", "linux/amd64", "windows/amd64", "platform", "not possible", "linux/arm64"),
    C("profile's cuda number", "jetson", '"12.6"', "12.6", "cuda", "text is expected", '"12.6"'),
    C("endpoint", "profile", "power_modes", "builder: {endpoint: jetson@host}\npower_modes", "builder/endpoint", "not a valid", "ssh://"),
    C("power mode twice", "profile", "[15W, MAXN]", "[15W, 15W]", "power_modes", "twice", "nvpmodel"),
    C("tensorrt without facts", "profile", "backend: onnxruntime", "backend: tensorrt", "", "describes the device", "module", "name: sim-x86"),
    C("TensorRT 11", "jetson", "10.3.0.30", "11.4.1.2", "tensorrt", "does not run", "AGX Orin"),
    C("TensorRT 8.4", "jetson", "10.3.0.30", "8.4.1.5", "tensorrt", "older than 8.5", "JetPack 6"),
    C("JetPack 5", "jetson", "36.4.3", "35.4.1", "l4t", "JetPack 5", "Python 3.8"),
    C("Thor only", "jetson", "36.4.3", "38.2.0", "l4t", "Thor", "36"),
    C("another line's TensorRT", "jetson", "10.3.0.30", "8.6.2.3", "tensorrt", "L4T 36.4.3 (JetPack 6.1, 6.2) has TensorRT 10.3.0, not 8.6.2.3", "dpkg -l"),
    C("another line's CUDA", "jetson", '"12.6"', '"13.2"', "cuda", "has cuda 12.6, not 13.2", "12.6"),
    C("another line's ROS", "jetson", "humble", "jazzy", "ros_distro", "has ros_distro humble, not jazzy", "humble"),
    C("another line's Python", "jetson", "ros_distro", 'python: "3.12"\nros_distro', "python", "has python 3.10, not 3.12", "3.10"),
    C("SMs of an unknown mode", "jetson", "power_modes", "sm_count_by_mode: {40W: 8}\npower_modes", "sm_count_by_mode/40W", "not one of the power_modes", "MAXN_SUPER"),
    C("impossible SMs of a mode", "jetson", "power_modes", "sm_count_by_mode: {15W: 8, 25W: 3}\npower_modes", "sm_count_by_mode/25W", "cannot have 3 SMs", "8"),
    C("no mode of these SMs", "jetson", "sm_count: 8", "sm_count: 8\nsm_count_by_mode: {15W: 4}", "sm_count", "no power mode leaves 8 SMs", "profile of their own"),
    C("module pattern", "jetson", "p3767-0003", "orin-nano", "module", "not a valid module", "part number"),
    C("unknown module", "jetson", "p3767-0003", "p3767-0099", "module", "not an Orin", "p3767-0003"),
    C("too many SMs", "jetson", "sm_count: 8", "sm_count: 16", "sm_count", "cannot have", "8"),
    C("tensorrt on x86", "jetson", "linux/arm64", "linux/amd64", "platform", "not a Jetson", "linux/arm64"),
]  # fmt: skip

MODEL_CASES = [
    C("sha256 mismatch", "model", TEXTS["model"].split("sha256: ")[1][:64], "0" * 63 + "a", "source/sha256", "another sha256", "write sha256: "),
    C("sha256 too short", "model", TEXTS["model"].split("sha256: ")[1][:64], "abc", "source/sha256", "not a valid", "sha256sum"),
    C("no source", "model", "  path: onnx/detector.onnx\n", "", "source", "one place", "path, url or oci", "source:"),
    C("two sources", "model", "  path: onnx", "  url: https://x/y.onnx\n  path: onnx", "source", "one place", "path, url or oci", "source:"),
    C("model file missing", "model", "onnx/detector.onnx", "onnx/other.onnx", "source/path", "does not exist", "path"),
    C("model file outside", "model", "onnx/detector.onnx", "../../x.onnx", "source/path", "outside", "reviewed"),
    C("unknown input", "model", "tensor: image", "tensor: picture", "inputs/0/tensor", "no input picture", "image"),
    C("shape that does not fit", "model", "[1, 3, 8, 8]", "[1, 1, 8, 8]", "inputs/0/shape", "channels", "[1, 3, 8, 8]"),
    C("shape of three", "model", "[1, 3, 8, 8]", "[3, 8, 8]", "inputs/0/shape", "not the shape", "height"),
    C("shape with zero", "model", "[1, 3, 8, 8]", "[1, 3, 0, 8]", "inputs/0/shape/2", "out of range", "at least 1"),
    C("shape is text", "model", "[1, 3, 8, 8]", "1x3x8x8", "inputs/0/shape", "a list is expected", "["),
    C("unknown output", "model", "tensor: scores", "tensor: score", "outputs/0/tensor", "no output score", "scores?"),
    C("bad topic", "model", "/camera/image_raw", "/camera/image raw", "inputs/0/topic", "not a valid topic", "ROS 2"),
    C("unknown encoding", "model", "rgb8", "yuv444", "inputs/0/encoding", "no encoding", "bgr8"),
    C("gray from rgb", "model", "color: bgr", "color: gray", "inputs/0/shape", "3 channels, but color gray has 1", "[1, 1,", "shape: [1, 3, 8, 8]"),
    C("mean of two", "model", "mean: [0.5, 0.5, 0.5]", "mean: [0.5, 0.5]", "inputs/0/preprocess/mean", "3 channels", "one for each channel"),
    C("std of four", "model", "std: [0.2, 0.2, 0.2]", "std: [1, 1, 1, 1]", "inputs/0/preprocess/std", "3 channels", "one for each channel"),
    C("place without bars", "model", "color: bgr", "color: bgr\n      place: top_left", "inputs/0/preprocess/place", "place is of resize letterbox alone", "resize: letterbox", "place: top_left"),
    C("pad of two", "model", "color: bgr", "color: bgr\n      resize: letterbox\n      pad: [1, 2]", "inputs/0/preprocess/pad", "2 numbers, but color bgr has 3", "one for each channel", "pad:"),
    C("tensor and tensors", "model", "tensor: scores", "tensor: scores\n    tensors: {boxes: scores}", "outputs/0", "give tensor, or tensors", "", "tensor: scores"),
    C("a role that is no word", "model", "tensor: scores", "tensors: {Boxes!: scores}", "outputs/0", "'Boxes!' is no role", "", "tensors:"),
    C("a role without its tensor", "model", "tensor: scores", "tensors: {boxes: score}", "outputs/0/tensors/boxes", "no output score", "scores?", "tensors:"),
    C("roles of a decoder of one tensor", "model", "tensor: scores", "tensors: {boxes: scores}", "outputs/0/tensors", "tensor reads one tensor", "tensor:", "tensors:"),
    C("a head's roles", "model", "decoder: {name: tensor}", "decoder: {name: boxes, options: {head: detr, classes: 4}}", "outputs/0/tensor", "boxes with head detr needs tensors for boxes, scores", "tensors: {boxes: NAME, scores: NAME}", "tensor: scores"),
    C("an option of another head", "model", "decoder: {name: tensor}", "decoder: {name: boxes, options: {head: end_to_end, classes: 4, objectness: true}}", "outputs/0/decoder/options/objectness", "objectness is not of head end_to_end", "rows", "decoder:"),
    C("std zero", "model", "std: [0.2, 0.2, 0.2]", "std: [0.2, 0, 0.2]", "inputs/0/preprocess/std/1", "out of range", "more than 0"),
    C("scale infinite", "model", "color: bgr", "color: bgr\n      scale: 1e999", "inputs/0/preprocess/scale", "finite", "fleet docs", "1e999"),
    C("resize none", "model", "color: bgr", "color: bgr\n      resize: none", "inputs/0/preprocess/resize", "16x12", "letterbox", "resize"),
    C("unknown decoder", "model", "{name: tensor}", "{name: boxxes}", "outputs/0/decoder/name", "no decoder boxxes", "did you mean boxes? Write your own as package:name"),
    C("plugin without a name", "model", "{name: tensor}", '{name: "acme:"}', "outputs/0/decoder/name", "no decoder acme:", "package:name"),
    C("unknown decoder option", "model", "{name: tensor}", "{name: boxes, options: {treshold: 0.4}}", "outputs/0/decoder/options/treshold", "boxes has no option treshold", "threshold?"),
    C("decoder option out of range", "model", "{name: tensor}", "{name: boxes, options: {iou: 45}}", "outputs/0/decoder/options/iou", "iou is 45", "from 0 to 1"),
    C("velocity without limits", "model", "{name: tensor}", "{name: velocity, options: {max_linear: 1, max_angular: 1, max_linear_acceleration: 1}}", "outputs/0/decoder", "needs max_angular_acceleration", "a number from 0.001 to 100 rad/s², under options"),
    C("deadline under a period", "model", "{name: tensor}", "{name: velocity, options: {max_linear: 1, max_angular: 1, max_linear_acceleration: 1, max_angular_acceleration: 1, deadline: 20ms}}", "outputs/0/decoder/options/deadline", "shorter than a period of 20 Hz", "above 50 Hz"),
    C("joints without a limit", "model", "{name: tensor}", "{name: joints, options: {joints: [a, b, c, d], interface: position, measured: /joint_states, max_jump: 0.2, min_position: -1, max_position: 1, on_failure: hold_position}}", "outputs/0/decoder", "with interface: position needs max_velocity", "one for each"),
    C("joints held nowhere", "model", "{name: tensor}", "{name: joints, options: {joints: [a, b, c, d], interface: position, measured: /joint_states, max_jump: 0.2, min_position: -1, max_position: 1, max_velocity: 2}}", "outputs/0/decoder", "needs on_failure", "hold_position or stop_publishing"),
    C("a limit too many", "model", "{name: tensor}", "{name: joints, options: {joints: [a, b, c, d], interface: position, measured: /joint_states, max_jump: 0.2, min_position: -1, max_position: [1, 1, 1], max_velocity: 2, on_failure: hold_position}}", "outputs/0/decoder/options/max_position", "has 3 numbers for 4 joints", "or 4, one for each"),
    C("limits that cross", "model", "{name: tensor}", "{name: joints, options: {joints: [a, b, c, d], interface: position, measured: /joint_states, max_jump: 0.2, min_position: -1, max_position: [1, 1, -2, 1], max_velocity: 2, on_failure: hold_position}}", "outputs/0/decoder/options/max_position", "of c is -2, and its min_position -1", "larger limit"),
    C("a limit of another interface", "model", "{name: tensor}", "{name: joints, options: {joints: [a, b, c, d], interface: position, measured: /joint_states, max_jump: 0.2, min_position: -1, max_position: 1, max_velocity: 2, max_effort: 5, on_failure: hold_position}}", "outputs/0/decoder/options/max_effort", "is not for interface: position", "leave it out"),
    C("option of joints misspelt", "model", "{name: tensor}", "{name: joints, options: {joints: [a, b, c, d], interface: position, measured: /joint_states, max_jump: 0.2, min_position: -1, max_position: 1, max_velocity: 2, dead_line: 1s, on_failure: hold_position}}", "outputs/0/decoder/options/dead_line", "joints has no option dead_line", "deadline?"),
    C("joints that are not the output", "model", "{name: tensor}", "{name: joints, options: {joints: [a, b, c], interface: position, measured: /joint_states, max_jump: 0.2, min_position: -1, max_position: 1, max_velocity: 2, on_failure: hold_position}}", "outputs/0/decoder", "joints has 3 joints, and output scores is [1, 4]", "each of its 4 numbers"),
    C("velocities that are not the output", "model", "{name: tensor}", "{name: velocity, options: {max_linear: 1, max_angular: 1, max_linear_acceleration: 1, max_angular_acceleration: 1}}", "outputs/0/decoder", "velocity has 2 axes, and output scores is [1, 4]", "each of its 4 numbers"),
    C("a trajectory controller's topic", "model", "topic: ~/detector/scores\n    decoder: {name: tensor}", "topic: /arm/joint_trajectory\n    decoder: {name: joints, options: {joints: [a, b, c, d], interface: position, measured: /joint_states, max_jump: 0.2, min_position: -1, max_position: 1, max_velocity: 2, on_failure: hold_position}}", "outputs/0/topic", "is a controller's topic for JointTrajectory, and the message is Float64MultiArray", "declare message: JointTrajectory", "/arm/joint"),
    C("commands where the joints are measured", "model", "topic: ~/detector/scores\n    decoder: {name: tensor}", "topic: /joint_states\n    decoder: {name: joints, options: {joints: [a, b, c, d], interface: position, measured: /joint_states, max_jump: 0.2, min_position: -1, max_position: 1, max_velocity: 2, on_failure: hold_position}}", "outputs/0/topic", "would hear itself", "controller or the simulator", "topic: /joint_states"),
    C("unknown key in preprocess", "model", "color: bgr", "colour: bgr", "inputs/0/preprocess/colour", "unknown key", "color?"),
    C("latency for unknown profile", "model", "sim-x86: 250ms", "sim-x68: 250ms", "gates/latency_p99/sim-x68", "no profile", "sim-x86?"),
    C("accuracy gate", "model", "gates:", "gates:\n  accuracy: {fp16: {min_cosine: 2}}", "gates/accuracy/fp16/min_cosine", "out of range", "at most 1", "min_cosine"),
    C("gate for other precision", "model", "gates:", "gates:\n  accuracy: {fp8: {}}", "gates/accuracy/fp8", "not possible", "int8", "fp8"),
    C("int8 gate without int8", "model", "precisions:\n  int8: {calibration: calibration}\n" + GOLDEN + "gates:\n", GOLDEN + "gates:\n  accuracy: {int8: {}}\n", "gates/accuracy/int8", "no int8 options", "calibration", "int8: {}"),
    C("unknown metric", "model", "gates:", "gates:\n  metric: {name: mask_io, output: scores}", "gates/metric/name", "no metric mask_io", "did you mean mask_iou?", "metric:"),
    C("metric of no output", "model", "gates:", "gates:\n  metric: {name: top1, output: score}", "gates/metric/output", "no output score", "scores?", "metric:"),
    C("smallest error", "model", "gates:", "gates:\n  metric: {name: mean_abs_error, output: scores, min: {fp16: 0.1}}", "gates/metric/min", "mean_abs_error is an error: lower is better, and has no min", "max", "metric:"),
    C("largest agreement", "model", "gates:", "gates:\n  metric: {name: top1, output: scores, max: {fp16: 0.1}}", "gates/metric/max", "top1 is an agreement: higher is better, and has no max", "min", "metric:"),
    C("agreement over 1", "model", "gates:", "gates:\n  metric: {name: top1, output: scores, min: {fp16: 95}}", "gates/metric/min/fp16", "out of range", "at most 1", "metric:"),
    C("threshold of top1", "model", "gates:", "gates:\n  metric: {name: top1, output: scores, threshold: 0.2}", "gates/metric/threshold", "top1 takes no threshold", "mask", "metric:"),
    C("boxes of no boxes", "model", "gates:", "gates:\n  metric: {name: map50, output: scores}", "gates/metric/output", "map50 needs boxes, and scores has decoder tensor", "decoders boxes", "metric:"),
    C("boxes in no image", "model", IMAGE_TO_GATES, IN_A_SCAN, "gates/metric/name", "map50 needs an image input", "another metric", "metric:"),
    C("threshold of map50", "model", "gates:", "gates:\n  metric: {name: map50, output: scores, threshold: 0.2}", "gates/metric/threshold", "map50 takes no threshold", "decoder", "metric:"),
    C("too few golden frames", "model", "gates:", "gates:\n  metric: {name: top1, output: scores, min: {fp16: 0.99}}", "gates/metric/min/fp16", "top1 0.99 cannot be judged on 2 golden frames: it would be 1 or at most 0.5", "give 100 golden frames or more, or write 1", "metric:"),
    C("int8 metric without int8", "model", "precisions:\n  int8: {calibration: calibration}\n" + GOLDEN + "gates:\n", GOLDEN + "gates:\n  metric: {name: top1, output: scores, min: {int8: 1}}\n", "gates/metric/min/int8", "no int8 options", "calibration", "metric:"),
    C("calibration missing", "model", "{calibration: calibration}", "{calibration: frames}", "precisions/int8/calibration", "does not exist", "at least 8"),
    C("calibration without samples", "model", "{calibration: calibration}", "{calibration: onnx}", "precisions/int8/calibration", "0 samples, int8 needs at least 8", "add frames"),
    C("golden missing", "model", "golden/detector.npz", "golden/no.npz", "golden/data", "does not exist", "numpy"),
    C("golden is no npz", "model", "golden/detector.npz", "onnx/detector.onnx", "golden/data", "not an .npz", "numpy", "golden:"),
]  # fmt: skip

CASES = [*TEXT_CASES, *FLEET_CASES, *PROFILE_CASES, *MODEL_CASES]
NO_LINE = {"empty file"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_says_where_what_and_what_to_do(case: Case, tmp_path: Path) -> None:
    problems = broken(case, tmp_path)
    found = [problem for problem in problems if problem.path == case.path and case.says in problem.message]
    assert len(found) == 1, "\n".join(map(str, problems))
    (problem,) = found
    assert case.hint in problem.hint
    assert problem.file == str(tmp_path / FILES[case.file])
    text = Path(problem.file).read_text(encoding="utf-8")
    expected = case.at or case.new.split("\n")[0]
    assert expected, "a case that takes text away must say which line is named"
    assert problem.line == (0 if case.name in NO_LINE else line_of(text, expected)), str(problem)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_one_mistake_is_few_problems(case: Case, tmp_path: Path) -> None:
    assert len(broken(case, tmp_path)) <= 4


def test_there_are_enough_cases() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 60


def test_a_file_without_measure_is_given_up_early() -> None:
    started = time.process_time()
    many = parse_document(b"[" + b"a," * (MAX_VALUES + 10) + b"a]")
    assert (many.value, [flaw.message for flaw in many.flaws]) == (None, ["the file holds more than 1000000 values"])
    twice = parse_document(b"a: 1\n" * 100_000)
    assert (twice.value, len(twice.flaws)) == (None, MAX_FLAWS)
    assert time.process_time() - started < 60.0
