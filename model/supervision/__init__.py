"""Between the trainer and who watches it: launch commands, heartbeat, progress, logbook, requests, signals."""
