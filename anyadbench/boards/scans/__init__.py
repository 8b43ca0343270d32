"""Whole scans, alarms of healthy subjects, and sites on a board: lines, tables, and plots."""
