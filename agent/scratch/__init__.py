"""The disk that is saved: walked and read from descriptor to descriptor, no link followed, no file system left (P8)."""
