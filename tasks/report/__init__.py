"""The report of a run: a self-contained HTML page, and its tables and pictures on the page of the flow run."""
