"""Render the example's warehouse signs: calibration frames and the frames of the golden data.

Deterministic (a seed for each frame) and free of system fonts (Pillow's own scalable font), so that everybody who
runs it gets the same pictures. ::

    python manifests/models/make_sign_data.py    # writes calibration/signs/*.jpg and golden/sign_text.npz

The golden data's expected output is what the model file at ``onnx/sign_text.onnx`` answers at fp32 with the
preprocessing that ``sign_text.yaml`` declares: run this with the model that is known to be right.
"""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import numpy as np
import yaml
from PIL import Image, ImageDraw, ImageFilter, ImageFont

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT = 640, 480
CALIBRATION_FRAMES = 28
GOLDEN_SEEDS = (9001, 9002, 9003)
TEXTS = (
    "AISLE", "EXIT", "DOCK", "LOADING", "FORKLIFT", "CAUTION", "STOP", "PALLET", "HALL", "ZONE", "RETURNS",
    "NO ENTRY", "KEEP CLEAR", "MAX 12 t", "PICKUP", "CHARGING", "FIRE DOOR", "SHIPPING", "GATE", "INBOUND",
)  # fmt: skip
SIGN_COLORS = (
    ((250, 210, 30), (20, 20, 20)),
    ((20, 90, 170), (245, 245, 245)),
    ((190, 30, 35), (250, 250, 250)),
    ((240, 240, 236), (25, 25, 30)),
    ((30, 120, 60), (240, 245, 240)),
)


def _backdrop(rng: random.Random) -> Image.Image:
    """Shelves in perspective under uneven light."""
    base = rng.randint(70, 150)
    image = Image.new("RGB", (WIDTH, HEIGHT), (base, base, base + rng.randint(-8, 12)))
    draw = ImageDraw.Draw(image)
    horizon = rng.randint(150, 240)
    draw.rectangle((0, horizon, WIDTH, HEIGHT), fill=(base - 25, base - 27, base - 30))
    for x in range(rng.randint(-60, 0), WIDTH, rng.randint(90, 160)):
        shade = rng.randint(40, 200)
        draw.polygon(((x, 0), (x + 12, 0), (x + 18, horizon + 40), (x - 6, horizon + 40)), fill=(shade, shade // 2, 40))
        for y in range(rng.randint(10, 60), horizon, rng.randint(50, 80)):
            tone = rng.randint(90, 190)
            draw.rectangle((x + 16, y, x + rng.randint(50, 85), y + rng.randint(20, 40)), fill=(tone, tone - 25, 70))
    return image


def _sign(rng: random.Random) -> Image.Image:
    """One sign with one or two lines of text, slightly turned, on a transparent ground."""
    ground, ink = rng.choice(SIGN_COLORS)
    lines = [rng.choice(TEXTS)]
    if rng.random() < 0.6:
        lines.append(f"{rng.choice('ABCDEFGH')}-{rng.randint(1, 48):02d}-{rng.randint(1, 9)}")
    font = ImageFont.load_default(size=rng.randint(20, 58))
    boxes = [font.getbbox(line) for line in lines]
    line_height = max(box[3] for box in boxes) + 6
    width = int(max(box[2] for box in boxes)) + 36
    height = int(line_height * len(lines)) + 24
    sign = Image.new("RGBA", (width, height), (*ground, 255))
    draw = ImageDraw.Draw(sign)
    draw.rectangle((3, 3, width - 4, height - 4), outline=ink, width=2)
    for row, line in enumerate(lines):
        draw.text((width / 2, 12 + row * line_height), line, font=font, fill=ink, anchor="ma")
    return sign.rotate(rng.uniform(-7, 7), resample=Image.Resampling.BICUBIC, expand=True)


def frame(seed: int) -> Image.Image:
    """Return one 640x480 RGB camera frame with one to four signs."""
    rng = random.Random(seed)  # noqa: S311  (pictures, not secrets)
    image = _backdrop(rng)
    for _ in range(rng.randint(1, 4)):
        sign = _sign(rng)
        x = rng.randint(-20, max(0, WIDTH - sign.width + 20))
        y = rng.randint(0, max(1, HEIGHT - sign.height))
        image.paste(sign, (x, y), sign)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 1.1)))
    gain = rng.uniform(0.55, 1.15)
    return image.point([min(255, int(value * gain)) for value in range(256)] * 3)


def write_calibration(folder: Path) -> None:
    """Write the calibration frames as JPEG, at most 15 KB each."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(CALIBRATION_FRAMES):
        frame(seed).save(folder / f"sign-{seed:02d}.jpg", quality=31, optimize=True)


def golden_frames() -> np.ndarray:
    """Return the golden frames, uint8 (N, 480, 640, 3), RGB. None of them is a calibration frame."""
    return np.stack([np.asarray(frame(seed)) for seed in GOLDEN_SEEDS])


def golden_expected(frames: np.ndarray) -> np.ndarray:
    """Return the text probabilities, float16 (N, 1, rows, columns), that the right model gives at fp32."""
    from runtime.contract.engine.build import Preprocess, TensorSpec
    from runtime.engines.build.fp32_reference import Reference

    model = yaml.safe_load((HERE / "sign_text.yaml").read_text("utf-8"))
    source = HERE / model["source"]["path"]
    found = hashlib.sha256(source.read_bytes()).hexdigest()
    if found != model["source"]["sha256"]:
        raise SystemExit(f"{source} has sha256 {found}, not the one of sign_text.yaml: this is not the right model")
    entry, output = model["inputs"][0], model["outputs"][0]["tensor"]
    options = dict(entry["preprocess"])
    for key in ("mean", "std"):
        options[key] = tuple(options[key])
    pre = Preprocess(entry["height"], entry["width"], entry["encoding"], **options)
    spec = TensorSpec(entry["tensor"], tuple(entry["shape"]), preprocess=pre)
    reference = Reference(source, (spec,), (TensorSpec(output, ()),))
    return np.stack([reference({spec.name: frame[None]})[output][0] for frame in frames]).astype(np.float16)


def write_golden(path: Path) -> None:
    """Write golden frames and what the right model answers to them."""
    from runtime.engines.golden.golden_data import Golden, save_golden

    model = yaml.safe_load((HERE / "sign_text.yaml").read_text("utf-8"))
    frames = golden_frames()
    path.parent.mkdir(parents=True, exist_ok=True)
    expected = {model["outputs"][0]["tensor"]: golden_expected(frames)}
    save_golden(path, Golden({model["inputs"][0]["tensor"]: frames}, expected))


if __name__ == "__main__":
    write_calibration(HERE / "calibration" / "signs")
    write_golden(HERE / "golden" / "sign_text.npz")
