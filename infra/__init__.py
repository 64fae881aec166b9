"""What the rooms stand on: the store, the stage decorator, the engine, the launcher, reports and the server."""
