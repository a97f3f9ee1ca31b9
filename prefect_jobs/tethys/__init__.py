"""An app of the Tethys Platform moves here by changing its imports."""
