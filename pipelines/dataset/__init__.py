"""What lies on disk: columns, Petastorm schema, manifest, encoded images."""

import warnings

# Petastorm reads through Arrow's old dataset API, which the pinned pyarrow still has (docs/adr/0001): the
# deprecation warnings, dozens a job, ask nothing of a user.
warnings.filterwarnings("ignore", category=FutureWarning, module="petastorm")
