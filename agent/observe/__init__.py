"""What operators see: metrics, health and log lines. Nothing here decides anything."""
