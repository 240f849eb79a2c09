"""The terminal commands around a running Cordboard. They read the control API and the reports."""
