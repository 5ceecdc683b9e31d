"""Omniglot: handwritten characters, and two encoders of different strength to upgrade between.

Reading order: `drawings` (the data), `architecture` (what the encoders are made of), `encoders`
(inference with numpy), `quality` (how good a ranking is), `train` (how the weights were made).
"""
