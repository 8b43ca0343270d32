"""Numbers of a row that only some protocols and data sets have: whole scans, alarms of healthy subjects, sites."""
