"""The trainer's interface to its supervisors: launch commands, heartbeat, progress, logbook, requests, signals."""
