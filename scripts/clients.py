"""The stores' own clients, as scripts/matrix compares them with a mount: boto3, google-cloud-storage, ibm-cos-sdk and azure-storage-blob.

`client(scheme, server)` gives the one of a scheme, for a bucket called "matrix", from the variables that scripts/servers.sh sets.
"""

import os
from dataclasses import dataclass, field

BUCKET = "matrix"
MIB = 1 << 20
REGION = {"s3": "us-east-1", "r2": "auto"}


@dataclass
class Facts:
    """What a store says of an object beside its bytes."""

    size: int
    content_type: str = ""
    cache_control: str = ""
    metadata: dict = field(default_factory=dict)


class S3:
    """S3 and R2 by boto3; IBM COS by IBM's fork of it, with tokens for an API key."""

    def __init__(self, scheme, server):
        if scheme == "cos":
            import ibm_boto3 as boto
            from ibm_botocore.client import Config
            from ibm_botocore.exceptions import ClientError

            endpoint = os.environ["IBM_COS_ENDPOINT"]
            arguments = {
                "ibm_api_key_id": os.environ["IBM_API_KEY_ID"],
                "ibm_service_instance_id": os.environ["IBM_SERVICE_INSTANCE_ID"],
                "ibm_auth_endpoint": os.environ["IBM_AUTH_ENDPOINT"] + "/identity/token",
                "config": Config(signature_version="oauth", s3={"addressing_style": "path"}),
            }
        else:
            import boto3 as boto
            from botocore.client import Config
            from botocore.exceptions import ClientError

            r2 = scheme == "r2"
            endpoint = os.environ["R2_ENDPOINT_URL" if r2 else "AWS_ENDPOINT_URL"]
            # Ceph 16 does not know the checksums that boto3 sends of its own accord.
            checksums = "when_required" if server == "rgw" else "when_supported"
            arguments = {
                "aws_access_key_id": os.environ["R2_ACCESS_KEY_ID" if r2 else "AWS_ACCESS_KEY_ID"],
                "aws_secret_access_key": os.environ["R2_SECRET_ACCESS_KEY" if r2 else "AWS_SECRET_ACCESS_KEY"],
                "region_name": REGION[scheme],
                "config": Config(s3={"addressing_style": "path"}, request_checksum_calculation=checksums),
            }
        self.name = boto.__name__
        self.refused = ClientError
        self.s3 = boto.client("s3", endpoint_url=endpoint, **arguments)
        transfer = __import__(f"{boto.__name__}.s3.transfer", fromlist=["TransferConfig"])
        self.transfer = transfer.TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB)

    def put(self, key, data, facts=None):
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=data, **self.extra(facts))

    def upload(self, key, path, facts=None):
        self.s3.upload_file(str(path), BUCKET, key, ExtraArgs=self.extra(facts), Config=self.transfer)

    @staticmethod
    def extra(facts):
        if facts is None:
            return {}
        return {"ContentType": facts.content_type, "CacheControl": facts.cache_control, "Metadata": facts.metadata}

    def blocks(self, key):
        return self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].iter_chunks(MIB)

    def range(self, key, start, length):
        return self.s3.get_object(Bucket=BUCKET, Key=key, Range=f"bytes={start}-{start + length - 1}")["Body"].read()

    def facts(self, key):
        """None where there is no such object."""
        try:
            head = self.s3.head_object(Bucket=BUCKET, Key=key)
        except self.refused as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise
        return Facts(head["ContentLength"], head.get("ContentType", ""), head.get("CacheControl", ""), head["Metadata"])

    def keys(self, prefix):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return sorted(entry["Key"] for page in pages for entry in page.get("Contents", []))

    def delete(self, key):
        self.s3.delete_object(Bucket=BUCKET, Key=key)


class Gcs:
    def __init__(self, _scheme, _server):
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        self.name = "google-cloud-storage"
        client = storage.Client(project=os.environ["GOOGLE_CLOUD_PROJECT"], credentials=AnonymousCredentials())
        self.bucket = client.bucket(BUCKET)

    def blob(self, key, facts=None):
        blob = self.bucket.blob(key)
        if facts is not None:
            blob.metadata, blob.cache_control, blob.content_type = facts.metadata, facts.cache_control, facts.content_type
        return blob

    def put(self, key, data, facts=None):
        self.blob(key, facts).upload_from_string(data, content_type=facts.content_type if facts else "text/plain")

    def upload(self, key, path, facts=None):
        # In pieces, one after the other.
        blob = self.blob(key, facts)
        blob.chunk_size = 8 * MIB
        blob.upload_from_filename(str(path), content_type=facts.content_type if facts else None)

    def blocks(self, key):
        with self.blob(key).open("rb", chunk_size=8 * MIB) as reader:
            while block := reader.read(MIB):
                yield block

    def range(self, key, start, length):
        return self.blob(key).download_as_bytes(start=start, end=start + length - 1)

    def facts(self, key):
        blob = self.bucket.get_blob(key)
        return blob and Facts(blob.size, blob.content_type or "", blob.cache_control or "", blob.metadata or {})

    def keys(self, prefix):
        return sorted(blob.name for blob in self.bucket.list_blobs(prefix=prefix))

    def delete(self, key):
        self.blob(key).delete()


class Azure:
    def __init__(self, _scheme, _server):
        from azure.core.exceptions import ResourceNotFoundError
        from azure.storage.blob import ContainerClient

        self.name = "azure-storage-blob"
        self.missing = ResourceNotFoundError
        # The account and the key that every emulator has.
        account = "devstoreaccount1"
        key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
        endpoint = f"{os.environ['AZURE_STORAGE_ENDPOINT']}/{account}"
        string = f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={key};BlobEndpoint={endpoint};"
        self.container = ContainerClient.from_connection_string(
            string, BUCKET, max_single_put_size=8 * MIB, max_block_size=8 * MIB
        )

    def put(self, key, data, facts=None):
        from azure.storage.blob import ContentSettings

        extra = {}
        if facts is not None:
            settings = ContentSettings(content_type=facts.content_type, cache_control=facts.cache_control)
            extra = {"metadata": facts.metadata, "content_settings": settings}
        self.container.upload_blob(key, data, overwrite=True, **extra)

    def upload(self, key, path, facts=None):
        with open(path, "rb") as file:
            self.put(key, file, facts)

    def blocks(self, key):
        return self.container.download_blob(key).chunks()

    def range(self, key, start, length):
        return self.container.download_blob(key, offset=start, length=length).readall()

    def facts(self, key):
        try:
            found = self.container.get_blob_client(key).get_blob_properties()
        except self.missing:
            return None
        settings = found.content_settings
        return Facts(found.size, settings.content_type or "", settings.cache_control or "", found.metadata)

    def put_of_kind(self, key, kind):
        """Returns its bytes."""
        data = b"kind" * 128
        self.container.upload_blob(key, data, blob_type=kind, overwrite=True)
        return data

    def kind(self, key):
        return self.container.get_blob_client(key).get_blob_properties().blob_type.value

    def leave_block(self, key, name_length):
        """As an upload does that was never completed."""
        # The client encodes it.
        self.container.get_blob_client(key).stage_block("b" * name_length, b"left")

    def keys(self, prefix):
        return sorted(self.container.list_blob_names(name_starts_with=prefix))

    def delete(self, key):
        self.container.delete_blob(key)


CLIENTS = {"s3": S3, "r2": S3, "cos": S3, "gs": Gcs, "az": Azure}


def client(scheme, server):
    return CLIENTS[scheme](scheme, server)
