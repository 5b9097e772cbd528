#!/bin/sh
# Make up the passwords of a team's MLflow: one file each, that only you can read. Those that exist stay as they are.
#
#     cluster/mlflow/make_secrets.sh [FOLDER]      default: secrets/ beside compose.yaml
set -eu
umask 077

folder=${1:-$(dirname "$0")/../secrets}
mkdir -p "$folder"
for name in postgres_password mlflow_admin_password mlflow_session_key s3_secret_key; do
  [ -s "$folder/$name" ] || head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$folder/$name"
done
# SeaweedFS reads its users from a file.
[ -s "$folder/s3.json" ] || cat >"$folder/s3.json" <<JSON
{"identities": [{"name": "mlflow",
  "credentials": [{"accessKey": "mlflow", "secretKey": "$(cat "$folder/s3_secret_key")"}],
  "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
JSON
echo "$folder: the user is admin, the password is in mlflow_admin_password"
