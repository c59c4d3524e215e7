"""Pixels: stored bytes to pixels and back, any image file to pixels, augmentation. Pure; no Spark, no torch."""
