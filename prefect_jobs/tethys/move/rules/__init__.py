"""What of an app will work: one module for each kind of code."""
