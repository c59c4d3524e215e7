"""Metrics over validation images, predictions on disk, ensembles."""
