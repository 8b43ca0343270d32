"""What a plugin's author tests with."""
