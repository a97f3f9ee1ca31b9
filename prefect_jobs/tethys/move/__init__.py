"""Helps to move an app of the Tethys Platform: what of it will work, and its imports rewritten."""
