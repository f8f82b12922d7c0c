"""Where notices come from: sources that are looked at, and the watcher that looks."""
