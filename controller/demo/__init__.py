"""The main job on the embedded default: recorded real images, a real webhook, a real inventory; no cluster."""
