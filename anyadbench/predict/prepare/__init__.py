"""From what a scanner gives to what a method expects: registration, brain extraction, bias field, own grids."""
