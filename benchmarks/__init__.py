"""Measurements that docs/results.md quotes. They assert nothing; the README's promises are tests."""
