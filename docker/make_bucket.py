"""Make the bucket that MLFLOW_ARTIFACTS_DESTINATION names, unless it is there: MLflow expects it."""

import os
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import ClientError

if __name__ == "__main__":
    bucket = urlsplit(os.environ["MLFLOW_ARTIFACTS_DESTINATION"]).netloc
    store = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
    try:
        store.create_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise
    print(f"the bucket {bucket} is there")
