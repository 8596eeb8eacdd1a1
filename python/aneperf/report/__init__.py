"""Results as text tables and as HTML."""
