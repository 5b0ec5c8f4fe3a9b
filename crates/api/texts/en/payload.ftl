# The request itself.
payload-title = What would be sent
payload-masked = { $class } masked
payload-truncated = truncated
payload-digest = Digest
