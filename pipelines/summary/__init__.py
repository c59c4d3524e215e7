"""The arithmetic of networks: shapes, memory, parameters, multiply-adds, receptive fields; all of them side by side."""
