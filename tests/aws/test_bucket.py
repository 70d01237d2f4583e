"""The bucket against moto, over a socket, and against scripted answers."""

import threading
from io import BytesIO

import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber

from aws.s3 import UNVERSIONED, Bucket, ObjectMissingError, StoreUnavailableError
from tests.agent.agent_world import START


def listed_version(key: str) -> dict[str, object]:
    version = {"Key": key, "VersionId": "v", "IsLatest": True}
    return {**version, "ETag": '"e"', "Size": 3, "LastModified": START}


def test_a_name_can_be_taken_once(aws):
    bucket = aws.bucket("any")

    assert bucket.put_once("k", b"first")
    assert not bucket.put_once("k", b"second")
    assert bucket.get("k").body == b"first"


@pytest.mark.parametrize(("lies_there", "version"), [("k", "null"), ("kk", "null"), ("k", "v")])
def test_what_is_forbidden_is_told_from_what_is_missing_by_a_listing(aws, lies_there, version):
    client = aws.client("s3")
    forbidden = {"service_error_code": "AccessDenied", "http_status_code": 403}
    missing = lies_there != "k" or version == "v"
    with Stubber(client) as answers:
        answers.add_client_error("get_object", **forbidden)
        if version == UNVERSIONED:
            answers.add_response("list_objects_v2", {"Contents": [{"Key": lies_there}]})
        else:
            other = {**listed_version(lies_there), "VersionId": "another"}
            answers.add_response("list_object_versions", {"Versions": [other]})
        with pytest.raises(ObjectMissingError if missing else StoreUnavailableError):
            Bucket(client, "any").get("k", version)


def test_who_may_not_even_list_a_key_hears_that_the_store_is_no_help(aws):
    client = aws.client("s3")
    with Stubber(client) as answers:
        answers.add_client_error("head_object", "403", http_status_code=403)
        answers.add_client_error("list_objects_v2", "AccessDenied", http_status_code=403)
        with pytest.raises(StoreUnavailableError, match="AccessDenied"):
            Bucket(client, "any").exists("k")


def test_of_many_who_take_a_name_at_once_one_wins(aws):
    bucket, won = aws.bucket("any"), []
    threads = [
        threading.Thread(target=lambda n=n: won.append(bucket.put_once("k", bytes([n]))))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(won) == [False] * 7 + [True]


def test_a_race_that_s3_could_not_decide_is_tried_again(aws):
    client = aws.client("s3")
    with Stubber(client) as stub:
        stub.add_client_error("put_object", "ConditionalRequestConflict", http_status_code=409)
        stub.add_client_error("put_object", "PreconditionFailed", http_status_code=412)

        assert not Bucket(client, "b").put_once("k", b"")
        stub.assert_no_pending_responses()


def test_what_is_not_there_is_told_from_a_store_that_fails(aws):
    bucket = aws.bucket("any")

    with pytest.raises(ObjectMissingError):
        bucket.get("missing")
    assert not bucket.exists("missing")
    with pytest.raises(StoreUnavailableError, match="no-such-bucket"):
        Bucket(aws.client("s3"), "no-such-bucket").put("k", b"", "text/plain")


def test_an_older_version_can_be_read(aws):
    bucket = aws.bucket("any")
    bucket.put("k", b"old", "text/plain")
    (old,) = bucket.current("")
    bucket.put("k", b"new", "text/plain")

    assert bucket.get("k", old.version_id).body == b"old"
    assert bucket.get("k").body == b"new"


def test_a_large_object_comes_in_pieces(aws):
    bucket, body = aws.bucket("any"), bytes(range(256)) * 10_000
    bucket.put("k", body, "text/csv")

    with bucket.open("k") as found:
        pieces = list(found.pieces)

    assert (found.size, found.etag) == (len(body), bucket.get("k").etag)
    assert b"".join(pieces) == body
    assert max(map(len, pieces)) < len(body) / 2


def test_an_object_that_breaks_off_is_never_taken_for_whole(aws):
    client = aws.client("s3")
    broken = {"Body": StreamingBody(BytesIO(b"row"), 5), "ContentLength": 5, "ETag": '"e"'}
    with Stubber(client) as stub:
        stub.add_response("get_object", broken)
        with (
            pytest.raises(StoreUnavailableError, match="read k"),
            Bucket(client, "any").open("k") as found,
        ):
            assert list(found.pieces)


def test_a_listing_shows_only_what_is_current(aws):
    bucket = aws.bucket("any")
    for body in (b"old", b"newer"):
        bucket.put("kept", body, "text/plain")
    bucket.put("deleted", b"gone", "text/plain")
    aws.client("s3").delete_object(Bucket=bucket.name, Key="deleted")

    (found,) = bucket.current("")
    assert (found.key, found.size) == ("kept", 5)
    assert found.etag == bucket.get("kept").etag


def test_a_listing_has_all_pages(aws):
    client = aws.client("s3")
    first = {
        "Versions": [listed_version("a")],
        "IsTruncated": True,
        "NextKeyMarker": "a",
        "NextVersionIdMarker": "v",
    }
    with Stubber(client) as stub:
        stub.add_response("list_object_versions", first)
        stub.add_response("list_object_versions", {"Versions": [listed_version("b")]})

        assert [found.key for found in Bucket(client, "b").current("")] == ["a", "b"]


def test_a_store_without_versions_is_listed_without_them(aws):
    bucket = aws.bucket("any", versioned=False)
    bucket.put("k", b"rows", "text/csv")

    (found,) = bucket.current("")
    assert found.version_id == UNVERSIONED
    assert bucket.get("k", found.version_id).body == b"rows"


def test_a_store_that_does_not_know_what_versions_are_is_listed_too(aws):
    client = aws.client("s3")
    with Stubber(client) as stub:
        stub.add_client_error("list_object_versions", "NotImplemented", http_status_code=501)
        contents = [{"Key": "k", "ETag": '"e"', "Size": 3, "LastModified": START}]
        stub.add_response("list_objects_v2", {"Contents": contents})

        (found,) = Bucket(client, "b").current("")
    assert (found.key, found.version_id, found.etag) == ("k", UNVERSIONED, "e")


def test_a_replacement_succeeds_only_where_nothing_has_changed(aws):
    bucket = aws.bucket("any")

    assert bucket.replace("k", b"first", None)
    assert not bucket.replace("k", b"second", None), "there is an object by now"
    seen = bucket.get("k")
    assert bucket.replace("k", b"third", seen.etag)
    assert not bucket.replace("k", b"fourth", seen.etag), "it is another one by now"
    assert bucket.get("k").body == b"third"


def test_a_replacement_of_what_was_deleted_fails_and_one_that_is_forbidden_raises(aws):
    client = aws.client("s3")
    with Stubber(client) as stub:
        stub.add_client_error("put_object", "NoSuchKey", http_status_code=404)
        stub.add_client_error("put_object", "AccessDenied", http_status_code=403)

        assert not Bucket(client, "b").replace("k", b"", "e")
        with pytest.raises(StoreUnavailableError, match="AccessDenied"):
            Bucket(client, "b").replace("k", b"", "e")


def test_a_race_that_never_ends_is_given_up(aws):
    client, pauses = aws.client("s3"), list[float]()
    with Stubber(client) as stub:
        for _ in range(8):
            stub.add_client_error("put_object", "ConditionalRequestConflict", http_status_code=409)

        with pytest.raises(StoreUnavailableError, match="race for k"):
            Bucket(client, "b", sleep=pauses.append).put_once("k", b"")
    assert len(pauses) == 8
    assert max(pauses) <= 1.0


def test_size_and_checksum_are_read_without_the_content(aws):
    bucket = aws.bucket("any")
    digest = bucket.put("k", b"rows", "text/csv")

    assert bucket.head("k") == (4, digest)
    assert bucket.head("missing") is None


def test_the_composite_checksum_of_a_multipart_upload_is_not_taken_for_the_objects(aws):
    client = aws.client("s3")
    with Stubber(client) as stub:
        composite = {"ContentLength": 4, "ChecksumSHA256": "AAAA-2"}
        stub.add_response("head_object", composite)

        assert Bucket(client, "b").head("k") == (4, None)


def test_versions_and_delete_markers_are_listed_and_deleted_for_good(aws):
    bucket = aws.bucket("any")
    bucket.put("k", b"old", "text/plain")
    bucket.put("k", b"newer", "text/plain")
    bucket.delete([("k", None)])

    found = list(bucket.versions(""))
    assert sorted((each.size, each.is_delete_marker, each.is_latest) for each in found) == [
        (0, True, True),
        (3, False, False),
        (5, False, False),
    ]
    assert not bucket.exists("k")

    bucket.delete([(each.key, each.version_id) for each in found])
    assert list(bucket.versions("")) == []
