"""Our own S3 client: HTTP/1.1 over TLS by hand, in threads. The object store of nearly every node.

An upload costs a third of the CPU that it costs with aioboto3, and starting half a second less (docs/performance.md).
What is out of the ordinary (directory buckets, proxies) stays with aioboto3: see agent/aws/session.py.
"""
