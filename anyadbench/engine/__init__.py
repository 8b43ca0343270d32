"""What changes a number when a model is trained or scored. Any change here changes the ids of fits and cells."""
