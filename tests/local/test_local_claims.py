"""S3 in the embedded cloud: of several writers that claim one key, one wins."""

from concurrent.futures import ThreadPoolExecutor

from botocore.exceptions import ClientError


def test_of_many_that_claim_a_key_at_once_one_wins(client, name):
    s3 = client("s3")
    s3.create_bucket(Bucket=name)

    def claim(key: str) -> bool:
        try:
            s3.put_object(Bucket=name, Key=key, Body=b"mine", IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] != "PreconditionFailed":
                raise
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        for turn in range(25):
            assert sum(pool.map(claim, [f"key-{turn}"] * 8)) == 1
