#!/bin/sh
# Prints what docker/.env has to have, with new passwords: (umask 077 && sh docker/secrets.sh > docker/.env)
set -eu
random() { openssl rand -hex 32; }
cat <<EOF
# Passwords of docker/compose.yaml; for nobody else's eyes. The database and the store keep those of their first start.
POSTGRES_PASSWORD=$(random)
STORE_PASSWORD=$(random)
MLFLOW_PASSWORD=$(random)
MLFLOW_SECRET_KEY=$(random)
SPARK_SECRET=$(random)
EOF
