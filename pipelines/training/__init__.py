"""The loop, optimizer, schedules, checkpoints and workers (Horovod)."""
