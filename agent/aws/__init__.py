"""The one door to aioboto3 and botocore: S3 as an object store, and who we are to AWS."""
