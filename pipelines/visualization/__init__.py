"""Seeing inside a trained network: what its feature maps respond to, and what its answer depends on."""
