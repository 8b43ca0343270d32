"""The code that determines numbers in training and scoring. Any change here changes the ids of fits and cells."""
