"""Our own S3 client: HTTP/1.1 over TLS by hand, in threads. The object store of nearly every node.

Cheaper to start and to run than aioboto3 (docs/performance.md), to which it leaves what is out of the ordinary:
directory buckets, proxies. See agent/aws/session.py.
"""
