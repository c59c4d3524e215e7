"""The work of Strata as importable functions: one folder a stage, in the order the data flows."""
