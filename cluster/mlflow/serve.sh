#!/bin/sh
# An MLflow server for a team: PostgreSQL behind it, a password before it. compose.yaml runs it in a container; it runs
# as well on any machine with `pip install 'mlflow[auth]' 'psycopg[binary]' boto3`, by these variables:
#
#   SECRETS                      folder with the files that make_secrets.sh makes
#   MLFLOW_BACKEND_STORE_URI     postgresql+psycopg://USER@HOST:PORT/DATABASE, without the password
#   MLFLOW_ARTIFACTS_DESTINATION where files of runs go: a folder, or s3://BUCKET
#   AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY  of that bucket, where it is not the one of compose.yaml
#   MLFLOW_HOST, MLFLOW_PORT     where to listen; default 127.0.0.1:5000
#   MLFLOW_SERVER_ALLOWED_HOSTS  by which names clients may call it, e.g. mlflow.example.org:5000
#   MLFLOW_SERVER_CORS_ALLOWED_ORIGINS  from which pages a browser may, e.g. https://mlflow.example.org
#
# No secret is in an argument, which everybody on the machine can read: passwords go by files and by variables of this
# process alone. What MLflow has of running code for others is off: jobs, and models that are pickles.
set -eu
umask 077

: "${SECRETS:?folder of the secrets}" "${MLFLOW_BACKEND_STORE_URI:?}" "${MLFLOW_ARTIFACTS_DESTINATION:?}"
: "${MLFLOW_SERVER_ALLOWED_HOSTS:?names by which clients may call the server}"
export MLFLOW_HOST="${MLFLOW_HOST:-127.0.0.1}" MLFLOW_PORT="${MLFLOW_PORT:-5000}"

private=$(mktemp -d)
trap 'rm -rf "$private"' EXIT
# PostgreSQL's own way to keep a password out of the address; it refuses files that others may read.
printf '*:*:*:*:%s\n' "$(cat "$SECRETS/postgres_password")" >"$private/pgpass"
export PGPASSFILE="$private/pgpass"

# Users and their rights are in PostgreSQL, too: by default they would be in a file of the container.
# READ: whoever has an account may look at all studies; writing needs a right of one's own.
cat >"$private/basic_auth.ini" <<INI
[mlflow]
default_permission = READ
database_uri = $MLFLOW_BACKEND_STORE_URI
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
INI
export MLFLOW_AUTH_CONFIG_PATH="$private/basic_auth.ini"

MLFLOW_AUTH_ADMIN_PASSWORD=$(cat "$SECRETS/mlflow_admin_password")
MLFLOW_FLASK_SERVER_SECRET_KEY=$(cat "$SECRETS/mlflow_session_key")
export MLFLOW_AUTH_ADMIN_PASSWORD MLFLOW_FLASK_SERVER_SECRET_KEY
if [ -z "${AWS_ACCESS_KEY_ID:-}" ] && [ -r "$SECRETS/s3_secret_key" ]; then # of the bucket that compose.yaml makes
  AWS_SECRET_ACCESS_KEY=$(cat "$SECRETS/s3_secret_key")
  export AWS_ACCESS_KEY_ID=mlflow AWS_SECRET_ACCESS_KEY
fi

export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false MLFLOW_DISABLE_TELEMETRY=true
# One worker: MLflow's tables are made at the first start, and two would make them at once.
mlflow server --app-name basic-auth --workers "${MLFLOW_WORKERS:-1}" &
server=$!
trap 'kill -TERM "$server"' INT TERM
code=0
wait "$server" || code=$?
wait "$server" 2>/dev/null || true # the first one returns when a signal comes
exit "$code"
