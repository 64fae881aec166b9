"""The report of a run: one HTML page that stands by itself, and its tables and pictures on the flow run's page."""
