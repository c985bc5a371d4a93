"""`alexnet.py FOLDER`: weights for AlexNet where torch keeps what it has downloaded, a picture, and the right answer.

KServe's tutorial downloads trained weights; random ones show the same and need no network. Runs in the tutorials'
environment.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from pathlib import Path

import torch
from PIL import Image
from torchvision import models, transforms

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    checkpoints = folder / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    torch.manual_seed(0)
    model = models.alexnet().eval()
    torch.save(model.state_dict(), checkpoints / models.AlexNet_Weights.DEFAULT.url.rpartition("/")[2])
    gradient = Image.linear_gradient("L").resize((256, 256))
    picture = Image.merge("RGB", [gradient, gradient.rotate(90), gradient.rotate(180)])
    written = io.BytesIO()
    picture.save(written, "PNG")
    steps = [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
    ]
    with torch.no_grad():
        best, _ = torch.topk(model(transforms.Compose(steps)(picture).unsqueeze(0)), 5)
    (folder / "expected.json").write_text(json.dumps(best.flatten().tolist()))
    (folder / "image.txt").write_text(base64.b64encode(written.getvalue()).decode())
