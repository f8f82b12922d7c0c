"""EC2 instance metadata (IMDSv2): the client, what its documents mean, who we are."""
